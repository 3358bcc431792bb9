"""From bytes to lines: whole lines with their place, whatever portions the bytes come in."""

from __future__ import annotations

import io
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from tap_coolafile.reading import Block, Head, blocks, digest


class Portions(io.BytesIO):
    """A file that hands over at most `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size if size is None or size < 0 else min(size, self._size))


def read(data: bytes, *, size: int = 1 << 20, limit: int = 1000, head: Head | None = None) -> list[Block]:
    return list(blocks(Portions(data, size), offset=0, line=0, max_row_bytes=limit, head=head or Head()))


def lines(found: list[Block]) -> list[bytes]:
    return [line for block in found for line in block.lines]


@given(st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")), max_size=9), st.integers(1, 12))
def test_lines_come_whole_whatever_the_portions(given_lines: list[bytes], size: int) -> None:
    data = b"\n".join(given_lines)
    expected = given_lines if given_lines and given_lines[-1] else given_lines[:-1]
    if data.startswith(b"\xef\xbb\xbf"):
        expected = data[3:].removesuffix(b"\n").split(b"\n") if data[3:] else []
    assert lines(read(data, size=size)) == expected


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=9), st.integers(1, 12))
def test_every_line_stands_at_its_offset_also_after_one_that_was_cut(given_lines: list[bytes], size: int) -> None:
    data = b"x" + b"\n".join(given_lines)
    for block in read(data, size=size, limit=10):
        for index, line in enumerate(block.lines):
            offset = block.end_of(index)
            assert data[offset:].startswith(line)
            assert offset == 0 or data[offset - 1 : offset] == b"\n"
            assert data[:offset].count(b"\n") == block.line + index


def test_a_byte_order_mark_is_passed_over_at_the_start_alone() -> None:
    bom = b"\xef\xbb\xbf"
    for size in (1, 2, 3, 4, 100):
        found = read(bom + b"a\n" + bom + b"b\n", size=size)
        assert lines(found) == [b"a", bom + b"b"]
        assert found[0].offset == 3
    assert lines(read(bom)) == []


def test_a_line_too_long_keeps_its_beginning_and_tells_its_length() -> None:
    data = b"a\n" + b"x" * 5000 + b"\nb\n"
    for size in (1 << 20, 700, 64):
        found = read(data, size=size, limit=100)
        assert [line[:2] for line in lines(found)] == [b"a", b"xx", b"b"]
        (cut,) = [block.cut[index] for block in found for index in block.cut]
        assert cut == 5000
        assert max(map(len, lines(found))) == 102


def test_a_line_of_sixty_megabytes_takes_no_memory() -> None:
    import tracemalloc  # noqa: PLC0415 - this test alone

    class Endless:
        left: t.ClassVar[list[int]] = [60]

        def read(self, size: int, /) -> bytes:
            self.left[0] -= 1
            return b"x" * size if self.left[0] >= 0 else b""

        def close(self) -> None:
            """Nothing to close."""

    tracemalloc.start()
    (block,) = blocks(Endless(), offset=0, line=0, max_row_bytes=100_000, head=Head())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert block.cut == {0: 60 << 20}
    assert peak < 8 << 20


@given(st.binary(min_size=1, max_size=20_000), st.integers(1, 9000))
def test_the_identity_of_what_was_read_is_that_of_its_bytes(data: bytes, size: int) -> None:
    head = Head()
    for begin in range(0, len(data), size):
        portion = data[begin : begin + size]
        head.feed(portion)
        end = begin + len(portion)
        assert head.at(end) == digest(data[: min(end, 4096)], data[max(end - 4096, 0) : end], end)
