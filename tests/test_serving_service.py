"""The HTTP service as clients meet it: answers, limits, and that it goes on whatever it is sent."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlparse

import pytest
from serving_material import HOSTILE, LEVELS, N_ITEMS, Service, UntrainedRun, write_export

from recbole_unisid.commands.main import main
from recbole_unisid.serving.recommender import Recommender
from recbole_unisid.serving.service import MAX_BODY, MAX_HISTORY, MAX_K


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    return write_export(tmp_path_factory.mktemp("service") / "export")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """One service for all tests of this file; at the end it must have had no trouble."""
    service = Service(f"--export={folder}")
    yield service
    assert service.process.poll() is None, "it has died"
    assert service.stop() == (0, "")


def test_the_service_answers_as_the_recommender_does(service: Service, folder: Path) -> None:
    """Every question, against the class that the folder holds."""
    recommender = Recommender(folder)
    history = ["i3", "i50", "i7"]
    status, answer = service.ask("recommend", {"history": history, "k": 7})
    expected = recommender.recommend(history, 7)
    assert (status, [item["id"] for item in answer["items"]]) == (200, [item.id for item in expected])
    assert answer["items"][0] == {**expected[0]._asdict(), "codes": list(expected[0].codes)}
    assert len(service.recommended(["i1"])) == 10
    assert set(service.recommended(history, k=100, seen=True)) & set(history)
    assert not set(service.recommended(history, k=100)) & set(history)
    similar = service.ask("similar?item=i3&k=4")[1]["items"]
    assert [item["id"] for item in similar] == [item.id for item in recommender.similar("i3", 4)]
    found = service.ask(f"items?q={quote('creme MULLER')}")[1]["items"]
    assert [item["title"] for item in found] == ["Crème brûlée de Müller"]
    status, health = service.ask("health")
    assert (health["status"], health["items"], health["levels"]) == ("ok", N_ITEMS, LEVELS)


BAD = [
    ("recommend", b"{bad", 422, "JSON"),
    ("recommend", b"", 422, "required"),
    ("recommend", b"\xff\xfe\x00", 400, "body"),
    ("recommend", b"[" * 100_000, 400, "body"),
    ("recommend", b'{"history": ["i1"], "k": ' + b"9" * 10_000 + b"}", 400, "body"),
    ("recommend", b'{"history": ["\\ud800"]}', 422, "history"),
    ("recommend", b'{"history": ["i1"], "k": 1e400}', 422, "k"),
    ("recommend", {"history": ["i1"], "k": 10**9}, 422, "k"),
    ("recommend", {"history": ["i1"], "k": 0}, 422, "k"),
    ("recommend", {"history": ["i1"], "k": True}, 422, "k"),
    ("recommend", {"history": []}, 422, "history"),
    ("recommend", {"history": "i1"}, 422, "history"),
    ("recommend", {"history": [1]}, 422, "history"),
    ("recommend", {"history": ["i1"], "limit": 3}, 422, "limit"),
    ("recommend", {"history": ["i1", "no such item"]}, 404, "no such item"),
    ("recommend", {"history": ["../../etc/passwd"]}, 404, "passwd"),
    ("recommend", {"history": ["i1"] * 10_000}, 422, str(MAX_HISTORY)),
    ("recommend", {"history": ["i1"], "more": "x" * 900_000}, 422, "more"),
    ("recommend", b"x" * 10_000_000, 413, str(MAX_BODY)),
    ("similar?item=no+such+item", None, 404, "no such item"),
    ("similar", None, 422, "item"),
    ("similar?item=i1&k=1000000000", None, 422, str(MAX_K)),
    (f"items?q={'x' * 2000}", None, 422, "q"),
    ("items?limit=-1", None, 422, "limit"),
    ("nowhere", None, 404, "Not Found"),
    ("demo.html", None, 404, "Not Found"),
    ("docs/%2e%2e/%2e%2e/setup.cfg", None, 404, "Not Found"),
    ("health", {}, 405, "Not Allowed"),
]


@pytest.mark.parametrize(("question", "body", "status", "words"), BAD)
def test_what_cannot_be_answered_is_refused_in_one_line(
    service: Service, question: str, body: object, status: int, words: str
) -> None:
    """A 4xx with a short message that names the trouble, and the next question is answered."""
    found, answer = service.ask(question, body)
    assert found == status
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert len(answer["error"]) < 400
    assert "\n" not in answer["error"]
    assert len(service.recommended(["i1"])) == 10


def test_a_body_of_unknown_length_is_limited_too(service: Service) -> None:
    """Chunks without a Content-Length are counted as they come."""
    connection = http.client.HTTPConnection(urlparse(service.address).netloc, timeout=60)
    chunks = iter([b"x" * 100_000] * 100)
    connection.request(
        "POST", "/recommend", chunks, {"Content-Type": "application/json"}, encode_chunked=True
    )
    response = connection.getresponse()
    assert response.status == 413
    assert str(MAX_BODY) in json.loads(response.read())["error"]


def test_a_client_that_asks_first_need_not_send(service: Service) -> None:
    """``Expect: 100-continue`` with ten gigabytes is refused at once."""
    with socket.create_connection(urlparse(service.address).netloc.split(":"), timeout=60) as client:
        head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        client.sendall(f"{head}Content-Length: 10000000000\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_many_clients_at_once_each_get_their_own_answer(service: Service, folder: Path) -> None:
    """Sixteen clients ask for different histories; none is given another's."""
    recommender = Recommender(folder)
    histories = [[f"i{k}", f"i{k + 1}"] for k in range(1, 101)]
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(service.recommended, histories))
    assert answers == [[item.id for item in recommender.recommend(history)] for history in histories]


def test_nothing_of_torch_is_loaded_to_serve_an_export() -> None:
    """The command's modules, in a fresh process."""
    modules = (
        "recbole_unisid.commands.serve, recbole_unisid.serving.server, recbole_unisid.serving.recommender"
    )
    check = f"import sys, {modules}; print({{'torch', 'recbole', 'pandas'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_bad_arguments_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong folder, a port that is taken, and neither or both of a run and an export."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, words in (
            (["--export=absent"], "manifest.json"),
            (["--export=absent", "--port=http"], "--port=http"),
            (["--export=absent", "--port=70000"], "--port=70000"),
            (["--export=absent", "--prot=1"], "Did you mean"),
            ([f"--export={folder}", f"--port={port}"], f"port {port}"),
            ([f"--export={folder}", "--host=no.such.host.invalid"], "no.such.host.invalid"),
            ([f"--export={folder}", "--run=runs"], "one of"),
            ([], "one of"),
        ):
            assert main(["serve", *arguments]) == 2
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert words in line


def test_hostile_titles_come_back_unchanged(service: Service) -> None:
    """JSON keeps them as they are; pages show them as text (see the browser's tests)."""
    titles = [item["title"] for item in service.ask("items?limit=100")[1]["items"]]
    assert set(HOSTILE) <= set(titles)
    assert UntrainedRun().titles[1:101] == titles
