"""Originals from a local server: dead mirrors, cut-off answers, wrong files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrors import (
    ITEMS,
    META,
    REVIEWS,
    USERS,
    Shelf,
    metadata,
    one_line,
    prepare_from,
    reviews,
)

from recbole_unisid.data.atomic_files import is_prepared
from recbole_unisid.data.prepare import ensure_dataset, prepare
from recbole_unisid.data.sources.originals import CHECKSUMS, download
from recbole_unisid.errors import UserError

pytestmark = pytest.mark.usefixtures("alone")


def test_dead_mirror_then_one_that_is_cut_off_half_way(serve: Callable[..., Shelf], tmp_path: Path) -> None:
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


def test_a_later_run_resumes_what_an_interrupted_one_left(
    serve: Callable[..., Shelf], tmp_path: Path
) -> None:
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


def test_a_server_without_ranges_is_read_from_the_start(serve: Callable[..., Shelf], tmp_path: Path) -> None:
    target = tmp_path / REVIEWS
    download([f"{serve(cut=1, ranges=False).url}/{REVIEWS}"], target, progress=False)
    assert target.read_bytes() == reviews()


def test_parts_of_different_files_are_not_joined(serve: Callable[..., Shelf], tmp_path: Path) -> None:
    other = gzip.compress(b"something else, longer than the file of the other mirror" * 999, mtime=0)
    first, second = serve(cut=99), serve(files={REVIEWS: other})
    download([f"{first.url}/{REVIEWS}", f"{second.url}/{REVIEWS}"], tmp_path / REVIEWS, progress=False)
    assert (tmp_path / REVIEWS).read_bytes() == other


def test_a_damaged_file_is_dropped_and_the_next_mirror_asked(
    serve: Callable[..., Shelf], tmp_path: Path
) -> None:
    broken = bytearray(reviews())
    broken[len(broken) // 2] ^= 0xFF
    bad, good = serve(files={REVIEWS: bytes(broken), META: metadata()}), serve()
    prepare_from(tmp_path, bad, good)
    assert (tmp_path / "amazon-beauty" / "originals" / REVIEWS).read_bytes() == good.files[REVIEWS]


def test_another_file_than_the_recorded_one_is_refused(serve: Callable[..., Shelf], tmp_path: Path) -> None:
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


def test_an_original_that_changed_on_disk_is_refused(serve: Callable[..., Shelf], tmp_path: Path) -> None:
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


def test_other_counts_than_published_are_refused(serve: Callable[..., Shelf], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"12 users, 8 items and 96 .* 22,363, 12,101 and 198,502") as error:
        prepare("amazon-beauty", tmp_path, mirrors=[serve().url], progress=False)
    assert "check_counts" in one_line(error)
    assert not is_prepared(tmp_path / "amazon-beauty")


@pytest.mark.parametrize("record", ["{", "[]", '{"file": 1}', pytest.param("[" * 100_000, id="deep")])
def test_a_damaged_record_of_checksums_is_named(
    record: str, serve: Callable[..., Shelf], tmp_path: Path
) -> None:
    prepare_from(tmp_path, serve())
    path = tmp_path / "amazon-beauty" / "originals" / CHECKSUMS
    path.write_text(record)
    with pytest.raises(UserError) as error:
        prepare_from(tmp_path, serve())
    assert f"{path} " in one_line(error)
    assert "delete it" in str(error.value)


def test_a_folder_of_originals_that_lacks_one(tmp_path: Path) -> None:
    (tmp_path / REVIEWS).write_bytes(reviews())
    with pytest.raises(UserError) as error:
        prepare("amazon-beauty", tmp_path / "data", raw=tmp_path, check_counts=False, progress=False)
    assert f"{META} is not in {tmp_path}" in one_line(error)
