"""Preparing where the disk refuses, is full or is shared: no half data set, and a next run that works."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrors import (
    META,
    REVIEWS,
    Shelf,
    metadata,
    one_line,
    prepare_from,
    reviews,
)

from recbole_unisid.data.atomic_files import NOTE, is_prepared
from recbole_unisid.data.prepare import ensure_dataset
from recbole_unisid.errors import UserError

pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_leaves_no_data_set(
    serve: Callable[..., Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real, calls = os.replace, []

    def failing_replace(source: object, target: object) -> None:
        # Let .item and the note through and fail at .inter: the worst moment.
        calls.append(target)
        if str(target).endswith(".inter"):
            raise OSError(number, os.strerror(number))
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(UserError) as error:
        prepare_from(tmp_path, serve())
    assert os.strerror(number) in one_line(error)
    folder = tmp_path / "amazon-beauty"
    assert not is_prepared(folder)
    assert (folder / NOTE).exists()  # the failure came after the first files were in place
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]


def test_too_little_space_is_seen_before_the_download(
    serve: Callable[..., Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 0, 9))
    with pytest.raises(UserError) as error:
        prepare_from(tmp_path, serve())
    assert "lacks the space" in one_line(error)


SCRIPT = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from recbole_unisid.data.prepare import prepare
from recbole_unisid.errors import UserError
raw, data, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
elif os.geteuid() == 0:
    os.seteuid(65534)
try:
    prepare("amazon-beauty", data, raw=raw, check_counts=False, progress=False)
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits and users")
@pytest.mark.parametrize(("limit", "reason"), [(1000, "File too large"), (0, "Permission denied")])
def test_a_real_refusal_of_the_system(limit: int, reason: str) -> None:
    root = Path(tempfile.mkdtemp())  # not tmp_path: another user must be able to look into it
    try:
        root.chmod(0o755)
        (root / REVIEWS).write_bytes(reviews())
        (root / META).write_bytes(metadata())
        data = root / "data"
        data.mkdir(mode=0o755 if limit or os.geteuid() == 0 else 0o555)
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(root), str(data), str(limit)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
            # Where nothing can be written, no coverage can be either.
            env={**os.environ, "OMP_NUM_THREADS": "1", "COVERAGE_PROCESS_CONFIG": ""},
            check=False,
        )
        assert (run.returncode, run.stderr) == (2, "")
        assert reason in run.stdout
        assert run.stdout.count("\n") == 1
        assert not list(data.rglob("*.inter"))
    finally:
        shutil.rmtree(root)


def test_two_runs_at_once_fetch_once(serve: Callable[..., Shelf], tmp_path: Path) -> None:
    shelf = serve(dead=False)
    script = (
        "import sys\n"
        "from recbole_unisid.data.prepare import prepare\n"
        "prepare('amazon-beauty', sys.argv[1], mirrors=[sys.argv[2]], check_counts=False, progress=False)\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), shelf.url],
            cwd=Path(__file__).resolve().parents[1],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [run.communicate()[1] for run in runs] == ["", "", ""]
    assert shelf.asked == [(REVIEWS, None), (META, None)]
    assert is_prepared(tmp_path / "amazon-beauty")


def test_a_killed_run_is_not_believed_and_the_next_one_works(
    serve: Callable[..., Shelf], tmp_path: Path
) -> None:
    prepare_from(tmp_path, serve())
    inter = tmp_path / "amazon-beauty" / "amazon-beauty.inter"
    inter.write_bytes(inter.read_bytes()[:-40])
    with pytest.raises(UserError, match="prepare amazon-beauty again"):
        ensure_dataset("amazon-beauty", tmp_path, progress=False)
    prepare_from(tmp_path, serve())
    assert ensure_dataset("amazon-beauty", tmp_path, progress=False) == tmp_path / "amazon-beauty"
