"""Compressed files: read as streams, whatever their members; what precedes a break is kept, and the break is told."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
import typing as t
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_coolafile.compression import Gunzip
from tap_coolafile.exceptions import BadFileError, BrokenFileError
from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server


def nameless(data: bytes, *, name: str = "") -> bytes:
    """Compress as `gzip --no-name` does, or with a name in the header."""
    out = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=out, mtime=0) as file:
        file.write(data)
    return out.getvalue()


def rows(count: int, *, start: int = 0) -> bytes:
    return "".join(event(n) + "\n" for n in range(start, start + count)).encode()


def users(count: int) -> list[str]:
    return [f"u{n}" for n in range(count)]


def noise(count: int) -> bytes:
    """Rows that hardly compress, so that a break falls between many of them."""
    rng = random.Random(1)
    return "".join(event(n, noise=rng.randbytes(40).hex()) + "\n" for n in range(count)).encode()


def unfold(data: bytes, size: int = 1 << 20) -> bytes:
    reader, found = Gunzip(io.BytesIO(data), "a.json.gz"), b""
    while more := reader.read(size):
        assert len(more) <= size
        found += more
    return found


def unfold_to_the_break(data: bytes, size: int) -> tuple[bytes, str]:
    """Return what is read before the break, and what is said of it."""
    reader, found = Gunzip(io.BytesIO(data), "a.json.gz"), b""
    try:
        while more := reader.read(size):
            found += more
    except BrokenFileError as broken:
        return found, str(broken)
    return found, ""


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 400), st.integers(0, 3))
def test_members_are_unfolded_one_after_another(members: list[bytes], size: int, zeros: int) -> None:
    data = b"".join(nameless(member) + b"\0" * zeros for member in members)
    assert unfold(data, size) == b"".join(members)


@given(st.binary(min_size=1, max_size=5000), st.data())
def test_whatever_is_cut_off_every_byte_that_gzip_still_yields_is_read(content: bytes, data: st.DataObject) -> None:
    packed = nameless(content)
    cut = packed[: data.draw(st.integers(1, len(packed) - 1))]
    found, words = unfold_to_the_break(cut, 100)
    assert "ends in the middle" in words
    assert found == zlib.decompressobj(31).decompress(cut)


def test_bytes_before_a_damaged_one_are_read() -> None:
    content = noise(2000)
    packed = bytearray(nameless(content))
    packed[len(packed) // 2] ^= 0xFF
    found, words = unfold_to_the_break(bytes(packed), 1 << 20)
    assert "is damaged" in words
    # What follows the damage may unfold to something else until the stream makes no sense any more.
    assert found[: len(content) // 3] == content[: len(content) // 3]


def test_a_checksum_that_does_not_fit_is_told() -> None:
    packed = bytearray(nameless(rows(10)))
    packed[-8] ^= 1
    with pytest.raises(BrokenFileError, match="is damaged"):
        unfold(bytes(packed))


def test_a_file_that_unfolds_a_thousandfold_takes_no_memory() -> None:
    packed = nameless(b"x" * (100 << 20))
    tracemalloc.start()
    reader = Gunzip(io.BytesIO(packed), "a.json.gz")
    size = 0
    while more := reader.read(1 << 20):
        size += len(more)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 100 << 20
    assert peak < 5 << 20


class Packed(Workplace):
    """A workplace that allows compressed files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config["allow_compressed"] = True

    def pack(self, name: str, data: bytes) -> Path:
        path = self.data / name
        path.write_bytes(data)
        return path


@pytest.fixture
def place(tmp_path: Path) -> Packed:
    return Packed(tmp_path)


def test_compressed_and_plain_files_are_read_side_by_side(place: Packed) -> None:
    place.pack("a.json.gz", nameless(rows(3)))
    place.write("b.json", event(3))
    place.pack("c.JSON.GZ", nameless(rows(2, start=4), name="c.json"))
    place.pack("d.json.gz", b"")
    run = place.sync()
    assert run.users == users(6)
    assert place.sync(state=run.state).records == []


def test_compressed_files_are_passed_over_unless_allowed(place: Packed) -> None:
    place.pack("a.json.gz", nameless(rows(3)))
    place.write("b.json", event(3))
    run = place.sync(allow_compressed=False)
    assert run.users == ["u3"]
    assert run.report["files_refused_by_name"] == 1


def test_a_literal_compressed_file_is_refused_with_the_setting_that_allows_it(place: Packed) -> None:
    path = place.pack("a.json.gz", nameless(rows(3)))
    run = place.run(uris=str(path), allow_compressed=False)
    assert run.code == 1
    assert "check allow_compressed" in run.complaints[0]


def test_any_state_within_a_compressed_file_resumes_it(place: Packed) -> None:
    place.pack("a.json.gz", nameless(rows(2000)) + nameless(rows(3000, start=2000)))
    whole = place.sync(state_interval_rows=700)
    states = [(at, message["value"]) for at, message in enumerate(whole.messages) if message["type"] == "STATE"]
    assert len(states) > 6
    for at, state in states:
        before = sum(message["type"] == "RECORD" for message in whole.messages[:at])
        assert users(5000)[:before] + place.sync(state=state).users == users(5000)


def test_rows_before_the_end_of_a_truncated_file_are_kept_and_the_file_is_retried(place: Packed) -> None:
    content = noise(5000)
    packed = nameless(content)
    place.pack("a.json.gz", packed[: len(packed) * 3 // 4])
    place.write("b.json", event(9999))
    first = place.run()
    assert first.code == 1
    count = len(first.users) - 1
    assert 3000 < count < 5000
    assert first.users == [*users(count), "u9999"]
    assert "ends in the middle of its gzip stream" in first.log
    assert first.report["bad_files"] == [f"file://{place.data}/a.json.gz"]
    again = place.run(state=first.state)
    assert (again.code, again.users) == (1, [])
    place.pack("a.json.gz", packed)
    mended = place.run(state=again.state)
    assert (mended.code, mended.users) == (0, users(5000)[count:])


def test_rows_of_a_small_truncated_file_are_kept_too(place: Packed) -> None:
    packed = nameless(noise(50))
    place.pack("a.json.gz", packed[: len(packed) // 2])
    with pytest.raises(BadFileError):
        place.sync()
    assert 10 < len(place.last.users) < 50
    assert place.last.users == users(len(place.last.users))


def test_a_file_that_only_says_it_is_gzip_is_a_bad_file(place: Packed) -> None:
    place.pack("a.json.gz", rows(3))
    run = place.run()
    assert (run.code, run.records) == (1, [])
    assert "a.json.gz is not gzip" in run.log


def test_members_appended_to_a_file_are_read_where_it_ended(place: Packed) -> None:
    place.pack("a.json.gz", nameless(rows(3)))
    state = place.sync().state
    place.pack("a.json.gz", nameless(rows(3)) + nameless(rows(2, start=3)))
    assert place.sync(state=state).users == ["u3", "u4"]


def test_a_file_compressed_anew_with_the_same_content_is_not_read_again(place: Packed) -> None:
    place.pack("a.json.gz", nameless(rows(3)))
    state = place.sync().state
    place.pack("a.json.gz", gzip.compress(rows(3), 1))
    assert place.sync(state=state).users == []


def test_a_compressed_file_with_other_content_is_a_bad_file(place: Packed) -> None:
    place.pack("a.json.gz", nameless(rows(3)))
    state = place.sync().state
    for other in (rows(9, start=50), rows(1), b""):
        place.pack("a.json.gz", nameless(other))
        with pytest.raises(BadFileError):
            place.sync(state=state)


def test_discovery_samples_compressed_files(place: Packed) -> None:
    place.pack("a.json.gz", nameless((event(1, inside=1) + "\n").encode()))
    assert '"inside"' in place.run("--discover").text


def test_a_compressed_object_in_s3_is_read(place: Packed, s3: S3Server) -> None:
    bucket = s3.bucket("packed", {"a.json.gz": nameless(rows(100))})
    run = place.sync(uris=f"s3://{bucket}/", aws_endpoint_url=s3.endpoint_url, **s3.admin.settings())
    assert run.users == users(100)
