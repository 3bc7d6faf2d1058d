"""Originals from a local server: dead mirrors, cut-off answers, wrong files, refusing disks."""

import errno
import gzip
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recbole_unisid.data.atomic_files import NOTE, is_prepared
from recbole_unisid.data.prepare import ensure_dataset, prepare
from recbole_unisid.data.sources import download as download_module
from recbole_unisid.data.sources.download import download
from recbole_unisid.data.sources.originals import CHECKSUMS
from recbole_unisid.errors import UserError

REVIEWS, META = "reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"
USERS, ITEMS = 12, 8


def reviews() -> bytes:
    """Every user meets every item, in the 2014 format."""
    lines = [
        json.dumps(
            {
                "reviewerID": f"A{user}",
                "asin": f"B{item}",
                "overall": 4.0,
                "unixReviewTime": 1_300_000_000 + 86_400 * ((item * 5 + user) % ITEMS),
            }
        )
        for item in range(ITEMS)
        for user in range(USERS)
    ]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


def metadata() -> bytes:
    """Python literals, as in 2014."""
    lines = [repr({"asin": f"B{item}", "title": f'Thing {item} "so" it\'s'}) for item in range(ITEMS)]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


@dataclass
class Shelf:
    """What a server gives, and how badly.

    `cut` is how often it stops half-way; `ranges` whether it knows them.
    """

    files: dict[str, bytes]
    cut: int = 0
    ranges: bool = True
    dead: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the server's shelf."""

    def do_GET(self) -> None:
        shelf: Shelf = self.server.shelf  # type: ignore[attr-defined]
        wanted_range = self.headers.get("Range")
        name = self.path.rpartition("/")[2]
        shelf.asked.append((name, wanted_range))
        if shelf.dead or name not in shelf.files:
            self.send_error(503 if shelf.dead else 404)
            return
        body, start = shelf.files[name], 0
        if wanted_range and shelf.ranges:
            start = int(wanted_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if shelf.cut:
            shelf.cut -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[object]:
    """Start servers for shelves; they are stopped at the end."""
    servers = []

    def start(**options: object) -> Shelf:
        shelf = Shelf(files={REVIEWS: reviews(), META: metadata()})
        for name, value in options.items():
            setattr(shelf, name, value)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.shelf = shelf  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        shelf.url = f"http://127.0.0.1:{server.server_address[1]}/files"
        return shelf

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    """The message, which must be one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


def prepare_from(data_path: Path, *shelves: Shelf) -> None:
    """Prepare amazon-beauty from servers alone."""
    prepare(
        "amazon-beauty",
        data_path,
        mirrors=[shelf.url for shelf in shelves],
        check_counts=False,
        progress=False,
    )


@pytest.fixture(autouse=True)
def no_public_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The known addresses are replaced by one where nothing listens, so that no test leaves this machine."""
    import dataclasses

    from recbole_unisid.data.sources import catalogue

    known = catalogue.CATALOGUE["amazon-beauty"]
    nowhere = {
        role: dataclasses.replace(original, urls=(f"http://127.0.0.1:9/{original.file}",))
        for role, original in (("interactions", known.interactions), ("items", known.items))
    }
    monkeypatch.setitem(catalogue.CATALOGUE, "amazon-beauty", dataclasses.replace(known, **nowhere))


def test_dead_mirror_then_one_that_is_cut_off_half_way(serve, tmp_path: Path) -> None:
    dead, flaky = serve(dead=True), serve(cut=1)
    prepare_from(tmp_path, dead, flaky)

    folder = ensure_dataset("amazon-beauty", tmp_path)
    assert (folder / "originals" / REVIEWS).read_bytes() == flaky.files[REVIEWS]
    half = len(flaky.files[REVIEWS]) // 2
    assert flaky.asked[:2] == [(REVIEWS, None), (REVIEWS, f"bytes={half}-")]
    rows = (folder / "amazon-beauty.inter").read_text().splitlines()[1:]
    assert len(rows) == USERS * ITEMS
    times = {}
    for user, _item, _rating, time in (row.split("\t") for row in rows):
        assert int(time) >= times.get(user, 0)
        times[user] = int(time)
    first_item = (folder / "amazon-beauty.item").read_text().splitlines()[1]
    assert first_item == "B0\tThing 0 ''so'' it's\t\t\t\t"
    recorded = json.loads((folder / "originals" / CHECKSUMS).read_text())
    assert recorded[META]["bytes"] == len(flaky.files[META])
    assert recorded[META]["origin"] == f"{flaky.url}/{META}"


def test_a_later_run_resumes_what_an_interrupted_one_left(serve, tmp_path: Path) -> None:
    target = tmp_path / REVIEWS
    always_cut = serve(cut=99)
    with pytest.raises(UserError, match="cut off"):
        download([f"{always_cut.url}/{REVIEWS}"], target, progress=False)
    have = (tmp_path / f"{REVIEWS}.part").stat().st_size
    assert 0 < have < len(reviews())
    assert not target.exists()

    good = serve()
    download([f"{good.url}/{REVIEWS}"], target, progress=False)
    assert good.asked == [(REVIEWS, f"bytes={have}-")]
    assert target.read_bytes() == reviews()
    assert sorted(path.name for path in tmp_path.iterdir()) == [REVIEWS]


def test_a_server_without_ranges_is_read_from_the_start(serve, tmp_path: Path) -> None:
    target = tmp_path / REVIEWS
    download([f"{serve(cut=1, ranges=False).url}/{REVIEWS}"], target, progress=False)
    assert target.read_bytes() == reviews()


def test_parts_of_different_files_are_not_joined(serve, tmp_path: Path) -> None:
    other = gzip.compress(b"something else, longer than the file of the other mirror" * 999, mtime=0)
    first, second = serve(cut=99), serve(files={REVIEWS: other})
    download([f"{first.url}/{REVIEWS}", f"{second.url}/{REVIEWS}"], tmp_path / REVIEWS, progress=False)
    assert (tmp_path / REVIEWS).read_bytes() == other


def test_a_damaged_file_is_dropped_and_the_next_mirror_asked(serve, tmp_path: Path) -> None:
    broken = bytearray(reviews())
    broken[len(broken) // 2] ^= 0xFF
    bad, good = serve(files={REVIEWS: bytes(broken), META: metadata()}), serve()
    prepare_from(tmp_path, bad, good)
    assert (tmp_path / "amazon-beauty" / "originals" / REVIEWS).read_bytes() == good.files[REVIEWS]


def test_another_file_than_the_recorded_one_is_refused(serve, tmp_path: Path) -> None:
    prepare_from(tmp_path, serve())
    originals = tmp_path / "amazon-beauty" / "originals"
    (originals / REVIEWS).unlink()
    other = serve(files={REVIEWS: gzip.compress(b'{"reviewerID": "A"}\n'), META: metadata()})
    before = (tmp_path / "amazon-beauty" / "amazon-beauty.inter").read_bytes()
    with pytest.raises(UserError) as error:
        prepare_from(tmp_path, other)
    assert "wrong SHA-256" in one_line(error)
    assert (tmp_path / "amazon-beauty" / "amazon-beauty.inter").read_bytes() == before
    assert not (originals / REVIEWS).exists()


def test_an_original_that_changed_on_disk_is_refused(serve, tmp_path: Path) -> None:
    prepare_from(tmp_path, serve())
    changed = tmp_path / "amazon-beauty" / "originals" / REVIEWS
    changed.write_bytes(changed.read_bytes() + gzip.compress(b"{}\n"))
    with pytest.raises(UserError) as error:
        prepare_from(tmp_path, serve())
    assert REVIEWS in one_line(error)
    assert "SHA-256" in str(error.value)


def test_without_a_network_it_says_which_file_goes_where(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        ensure_dataset("amazon-beauty", tmp_path, progress=False)
    message = one_line(error)
    assert REVIEWS in message
    assert str(tmp_path / "amazon-beauty" / "originals") in message
    assert not is_prepared(tmp_path / "amazon-beauty")


def test_files_put_by_hand_where_the_message_says_are_taken(tmp_path: Path) -> None:
    originals = tmp_path / "amazon-beauty" / "originals"
    originals.mkdir(parents=True)
    (originals / REVIEWS.removesuffix(".gz")).write_bytes(gzip.decompress(reviews()))
    (originals / META).write_bytes(metadata())
    prepare_from(tmp_path)
    assert is_prepared(tmp_path / "amazon-beauty")


def test_other_counts_than_published_are_refused(serve, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"12 users, 8 items and 96 .* 22,363, 12,101 and 198,502") as error:
        prepare("amazon-beauty", tmp_path, mirrors=[serve().url], progress=False)
    assert "check_counts" in one_line(error)
    assert not is_prepared(tmp_path / "amazon-beauty")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_leaves_no_data_set(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
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
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage(9, 0, 9))
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
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert (run.returncode, run.stderr) == (2, "")
        assert reason in run.stdout
        assert run.stdout.count("\n") == 1
        assert not list(data.rglob("*.inter"))
    finally:
        shutil.rmtree(root)


def test_two_runs_at_once_fetch_once(serve, tmp_path: Path) -> None:
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


def test_a_killed_run_is_not_believed_and_the_next_one_works(serve, tmp_path: Path) -> None:
    prepare_from(tmp_path, serve())
    inter = tmp_path / "amazon-beauty" / "amazon-beauty.inter"
    inter.write_bytes(inter.read_bytes()[:-40])
    with pytest.raises(UserError, match="prepare amazon-beauty again"):
        ensure_dataset("amazon-beauty", tmp_path, progress=False)
    prepare_from(tmp_path, serve())
    assert ensure_dataset("amazon-beauty", tmp_path, progress=False) == tmp_path / "amazon-beauty"
