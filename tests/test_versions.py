"""Versions of a model: promotion, the way back, and a service that follows."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from kills import killed_at
from serving_material import Service, UntrainedRun, write_export

from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender
from recbole_unisid.serving.reload import Follower
from recbole_unisid.serving.service import Served
from recbole_unisid.serving.versions import Versions, copy_of


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions, of other weights and catalogues; none is current yet."""
    versions = Versions(tmp_path_factory.mktemp("versions") / "live")
    first = write_export(versions.folder.parent / "export")
    versions.add(copy_of(first))
    versions.add(lambda to: export(UntrainedRun(n_items=90, seed=1), to))
    return versions.folder


@pytest.fixture
def live(two: Path, tmp_path: Path) -> Path:
    """A copy to change, with the first version current."""
    folder = tmp_path / "live"
    shutil.copytree(two, folder)
    Versions(folder).promote("1")
    return folder


def test_promote_and_roll_back(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the commands, as they are printed."""
    folder = tmp_path / "live"
    shutil.copytree(two, folder)
    assert main(["versions", "promote", str(folder), "--name=1"]) == 0
    assert main(["versions", "promote", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == ["current: 1", "current: 2, before it 1"]
    assert main(["versions", "list", str(folder)]) == 0
    marks = [line[:3] for line in capsys.readouterr().out.splitlines()]
    assert marks == ["  1", "* 2"]
    assert main(["versions", "roll-back", str(folder)]) == 0
    assert Versions(folder).current() == "1"
    assert main(["versions", "roll-back", str(folder)]) == 2
    assert "no version before" in capsys.readouterr().err
    assert (
        main(["versions", "add", str(folder), f"--export={folder / '2'}", "--name=monday", "--promote"]) == 0
    )
    assert Versions(folder).names() == ["1", "2", "monday"]
    shutil.rmtree(folder / "1")  # by hand; it was current before monday
    assert main(["versions", "roll-back", str(folder)]) == 2
    assert "no version 1 any more" in (told := capsys.readouterr().err)
    assert "promote one of 2, monday with --name" in told
    assert Versions(folder).current() == "monday"


@pytest.mark.parametrize(
    "text", ["{", '{"current": "1", "earlier": "12"}', pytest.param("[" * 100_000, id="deep")]
)
def test_a_promotion_mends_the_file_of_the_current_version(text: str, live: Path) -> None:
    """As the message about such a file says."""
    (live / "current.json").write_text(text)
    with pytest.raises(UserError, match="promote a version again"):
        Versions(live).current()
    assert main(["versions", "promote", str(live), "--name=2"]) == 0
    assert Versions(live).pointer() == ("2", [])


@pytest.mark.parametrize("text", ["{", "[1]", "{}", pytest.param("[" * 100_000, id="deep")])
def test_list_tells_a_damaged_version(text: str, live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are shown beside it."""
    (live / "2" / "manifest.json").write_text(text)
    assert main(["versions", "list", str(live)]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("* 1  UniSID")
    assert second.startswith("  2  damaged")


def test_a_run_becomes_a_version(served_runs: Callable[[str], Path], tmp_path: Path) -> None:
    """It recommends as the run does."""
    folder = tmp_path / "live"
    assert main(["versions", "add", str(folder), f"--run={served_runs('UniSID')}", "--promote"]) == 0
    assert Recommender(folder / "1").manifest["run"] == served_runs("UniSID").name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "DIR", "--export=DIR/1", "--name=2"], "is there already"),
        (["add", "DIR", "--export=DIR/1", "--name=../out"], "make a name"),
        (["add", "DIR", "--export=DIR/1", "--name=current.json"], "which version is current"),
        (["roll-back", "DIR", "--name=1"], "roll-back does not take --name"),
        (["add", "DIR", "--export=DIR"], "no exported folder"),
        (["add", "DIR"], "either --run"),
        (["promote", "DIR", "--name=3"], "has no version 3; it has: 1, 2"),
        (["promote", "nowhere"], "There is no folder nowhere"),
        (["demote", "DIR"], "add|promote|roll-back|list"),
    ],
)
def test_refusals(arguments: list[str], told: str, live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and the folder as it was."""
    before = sorted(path for path in live.rglob("*"))
    assert main(["versions", *(word.replace("DIR", str(live)) for word in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert sorted(path for path in live.rglob("*") if path.name != ".lock") == [
        p for p in before if p.name != ".lock"
    ]


def test_a_damaged_version_is_not_promoted(live: Path) -> None:
    """The current one goes on."""
    with (live / "2" / "vectors.safetensors").open("r+b") as file:
        file.seek(200)
        file.write(b"\xff\xff")
    with pytest.raises(UserError, match=r"Version 2 is not made current: .* has changed"):
        Versions(live).promote("2")
    assert Versions(live).current() == "1"


def test_a_kill_in_a_promotion_leaves_a_version_that_serves(live: Path) -> None:
    """Before every file operation of a promotion: the version before or the new one is current and recommends."""
    events = ("os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "tempfile", "fcntl.flock")
    found, step = [], 1
    versions = Versions(live)
    while killed_at(step, lambda: versions.promote("2"), events):
        found.append(versions.current())
        assert Recommender(live / found[-1]).recommend(["i1"], 3)
        versions.promote("1")
        step += 1
    assert step > 5
    assert set(found) == {"1", "2"}
    assert versions.current() == "2"
    assert {path.name for path in live.iterdir()} == {"1", "2", "current.json", ".lock"}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_follows_without_losing_a_request(workers: int, live: Path) -> None:
    """While clients ask, versions change: every answer is whole, of one version or the other, and says which."""
    running = Service(f"--versions={live}", f"--workers={workers}")
    recommenders = {name: Recommender(live / name) for name in ("1", "2")}
    expected = {name: [item.id for item in one.recommend(["i7"], 5)] for name, one in recommenders.items()}
    assert expected["1"] != expected["2"]
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                found = running.recommended(["i7"], k=5)
                if found not in expected.values():
                    wrong.append(found)
            except Exception as error:
                wrong.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for name in ("2", "1", "2"):
        Versions(live).promote(name)
        until = time.monotonic() + 60
        while {running.ask("health")[1]["model_version"] for _ in range(4 * workers)} != {name}:
            assert time.monotonic() < until, "it did not follow"
    stop.set()
    for client in clients:
        client.join()
    assert not wrong
    until = time.monotonic() + 60  # health may have been answered by one of the workers alone
    while any(running.recommended(["i7"], k=5) != expected["2"] for _ in range(30)):
        assert time.monotonic() < until, "a worker did not follow"
    assert running.ask("health")[1]["items"] == 90
    assert running.stop() == (0, "")


def test_a_version_that_was_refused_is_tried_again_once_it_is_promoted_anew() -> None:
    """It may have been mended meanwhile; until then it is read once, not every second."""
    put, made, current = [], [], "1"
    served = Served(None, "UniSID", "shop", "1")  # type: ignore[arg-type]
    damaged = True

    def make() -> Served:
        made.append(current)
        if damaged:
            raise OSError("damaged")
        return served._replace(version=current)

    async def look(times: int) -> None:
        for _ in range(times):
            follower.look()
            assert follower._task is not None
            await follower._task

    service = SimpleNamespace(served=served, put=put.append)
    follower = Follower(service, make, lambda: current)  # type: ignore[arg-type]
    current = "2"
    asyncio.run(look(3))
    assert (made, put) == (["2"], [])
    current = "1"
    asyncio.run(look(1))
    current, damaged = "2", False
    asyncio.run(look(1))
    assert [one.version for one in put] == ["2"]


@pytest.fixture(scope="module")
def counted(two: Path) -> Iterator[Service]:
    folder = two.parent / "counted"
    shutil.copytree(two, folder)
    Versions(folder).promote("1")
    running = Service(f"--versions={folder}", "--workers=2")
    yield running
    assert running.stop() == (0, "")


def test_metrics_count_over_all_workers(counted: Service) -> None:
    """Requests by status and their times, the version and its items, whichever worker is asked."""
    from urllib.request import urlopen

    from prometheus_client.parser import text_string_to_metric_families

    for _ in range(20):
        counted.recommended(["i1"])
        assert counted.ask("similar?item=nothing")[0] == 404
    assert counted.ask("no/such/page")[0] == 404
    for _ in range(4):
        text = urlopen(f"{counted.address}metrics").read().decode()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        found = {(one.name, *one.labels.values()): one.value for one in samples}
        start = "recbole_unisid_"
        assert found[f"{start}requests_total", "/recommend", "200"] == 20
        assert found[f"{start}requests_total", "/similar", "404"] == 20
        assert found[f"{start}requests_total", "other", "404"] == 1
        assert found[f"{start}request_seconds_count", "/recommend"] == 20
        assert found[f"{start}workers", "1"] == 2
        assert found[f"{start}items",] == 120


def test_an_answer_names_its_version(counted: Service) -> None:
    """In a header."""
    from urllib.request import urlopen

    with urlopen(f"{counted.address}similar?item=i1") as answer:
        assert answer.headers["x-model-version"] == "1"
        assert len(json.load(answer)["items"]) == 10


def test_a_version_that_cannot_be_served_is_one_line(live: Path) -> None:
    """A pointer to nothing, written by somebody else: the service goes on, and says so once."""
    running = Service(f"--versions={live}", "--workers=1")
    (live / "current.json").write_text('{"current": "9", "earlier": []}')
    time.sleep(3)
    assert running.ask("health")[1]["model_version"] == "1"
    status, log = running.stop()
    assert (status, len(log.splitlines())) == (0, 1), log
    assert "Version 9 cannot be served" in log
