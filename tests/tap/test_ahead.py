"""Files fetched ahead: in order, in bounded memory, mended where a connection fails, and never in a signal's way."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import threading
import time
import typing as t

import pytest

from tap_coolafile.conveyor import Conveyor, aside
from tap_coolafile.exceptions import BadFileError, StorageError
from tap_coolafile.sources.ahead import TOTAL_BYTES, Ahead
from tap_coolafile.sources.base import FileItem
from tests.tap.conftest import Run, Workplace, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.object_server import ObjectServer


def go_on() -> None:
    """What `check` is while no signal came."""


class Shelf:
    """A source in memory that remembers how much was read, and can hold back or refuse a file."""

    def __init__(self, **files: bytes) -> None:
        self.contents = files
        self.read: dict[str, int] = {}
        self.opened: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.refused: dict[str, Exception] = {}

    def files(self, after: str) -> Iterator[FileItem]:
        for path in sorted(self.contents):
            if path > after:
                yield FileItem(path, path, len(self.contents[path]), 0, "e")

    def open(self, item: FileItem, offset: int) -> t.Any:
        self.opened.append(item.path)
        if item.path in self.gates:
            assert self.gates[item.path].wait(30)
        if item.path in self.refused:
            raise self.refused[item.path]
        return _Opened(self, item.path, offset)

    def now_ms(self) -> int:
        return 7


class _Opened:
    def __init__(self, shelf: Shelf, path: str, offset: int) -> None:
        self._shelf, self._path, self._at = shelf, path, offset

    def read(self, size: int, /) -> bytes:
        data = self._shelf.contents[self._path][self._at : self._at + size]
        self._at += len(data)
        self._shelf.read[self._path] = self._at
        return data

    def close(self) -> None:
        """Nothing to close."""


def content(ahead: Ahead, item: FileItem, offset: int = 0) -> bytes:
    with contextlib.closing(ahead.open(item, offset)) as handle:
        found = b""
        while data := handle.read(100_000):
            found += data
        return found


def until(condition: t.Callable[[], bool]) -> None:
    """Wait until something holds, which it must within half a minute."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


@pytest.mark.parametrize("files", [1, 2, 8])
def test_every_file_comes_whole_and_in_order_however_many_are_fetched(files: int) -> None:
    rng = random.Random(1)
    shelf = Shelf(**{f"f{n:03}": rng.randbytes(rng.choice([0, 10, 700_000])) for n in range(60)})
    ahead = Ahead(lambda: shelf, files, go_on)
    read = {item.path: content(ahead, item) for item in ahead.files_ahead("f004", lambda _: 0)}
    assert read == {path: data for path, data in shelf.contents.items() if path > "f004"}
    assert list(read) == sorted(read)


def test_as_many_files_are_under_way_as_the_setting_says_and_no_more() -> None:
    shelf = Shelf(**{f"f{n}": b"x" for n in range(9)})
    shelf.gates = {path: threading.Event() for path in shelf.contents}
    ahead = Ahead(lambda: shelf, 3, go_on)
    items = ahead.files_ahead("", lambda _: 0)
    first = next(items)
    until(lambda: len(shelf.opened) == 3)
    assert sorted(shelf.opened) == ["f0", "f1", "f2"]
    for gate in shelf.gates.values():
        gate.set()
    assert content(ahead, first) == b"x"
    assert [content(ahead, item) for item in items] == [b"x"] * 8


def test_what_will_not_be_read_is_not_fetched_but_can_still_be_opened() -> None:
    shelf = Shelf(a=b"1", b=b"2", c=b"3")
    ahead = Ahead(lambda: shelf, 8, go_on)
    for item in ahead.files_ahead("", lambda item: 0 if item.path == "c" else None):
        if item.path == "b":
            assert content(ahead, item) == b"2"
    assert "a" not in shelf.opened


def test_a_file_is_fetched_from_the_byte_at_which_it_will_be_read() -> None:
    shelf = Shelf(a=b"0123456789")
    ahead = Ahead(lambda: shelf, 8, go_on)
    (found,) = [content(ahead, item, 4) for item in ahead.files_ahead("", lambda _: 4)]
    assert found == b"456789"
    assert shelf.opened == ["a"]


@pytest.mark.parametrize("files", [2, 64])
def test_a_download_waits_once_its_share_of_memory_is_full(files: int) -> None:
    shelf = Shelf(a=b"x", **{f"b{n:02}": bytes(TOTAL_BYTES) for n in range(files - 1)})
    ahead = Ahead(lambda: shelf, files, go_on)
    items = ahead.files_ahead("", lambda _: 0)
    next(items)
    share = TOTAL_BYTES // files
    until(lambda: len(shelf.read) == files and all(at >= share - (1 << 18) for at in shelf.read.values() if at > 1))
    until(lambda: sum(shelf.read.values()) >= (files - 1) * (share - (1 << 18)))
    assert max(shelf.read.values()) <= share
    assert len(content(ahead, next(items))) == TOTAL_BYTES
    items.close()


def test_what_a_download_ran_into_is_raised_where_the_file_is_read() -> None:
    shelf = Shelf(a=b"1", b=b"2", c=b"3")
    shelf.refused["b"] = BadFileError("b is gone")
    ahead = Ahead(lambda: shelf, 8, go_on)
    read = []
    for item in ahead.files_ahead("", lambda _: 0):
        if item.path == "b":
            with pytest.raises(BadFileError, match="b is gone"):
                content(ahead, item)
        else:
            read.append(content(ahead, item))
    assert read == [b"1", b"3"]


def test_what_a_listing_ran_into_is_raised_after_the_files_before_it() -> None:
    class Breaking(Shelf):
        def files(self, after: str) -> Iterator[FileItem]:
            yield from super().files(after)
            msg = "no more"
            raise StorageError(msg)

    ahead = Ahead(lambda: Breaking(a=b"", b=b""), 8, go_on)
    items = ahead.files("")
    assert [next(items).path, next(items).path] == ["a", "b"]
    with pytest.raises(StorageError, match="no more"):
        next(items)


class StopNowError(Exception):
    """What `check` raises here once a signal came."""


@pytest.mark.parametrize("hanging", ["connect", "list", "open", "read"])
def test_a_call_that_hangs_is_left_behind_within_a_second_of_a_signal(hanging: str) -> None:
    never, stopped = threading.Event(), threading.Event()

    def hang(place: str) -> None:
        if place == hanging:
            never.wait(60)

    class Hanging(Shelf):
        def files(self, after: str) -> Iterator[FileItem]:
            hang("list")
            yield from super().files(after)

        def open(self, item: FileItem, offset: int) -> t.Any:
            hang("open")
            handle = super().open(item, offset)
            hang("read")
            return handle

    def connect() -> Shelf:
        hang("connect")
        return Hanging(a=b"1")

    def check() -> None:
        if stopped.is_set():
            raise StopNowError

    def read_all() -> None:
        ahead = Ahead(connect, 8, check)
        for item in ahead.files_ahead("", lambda _: 0):
            content(ahead, item)

    timer = threading.Timer(0.2, stopped.set)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(StopNowError):
        read_all()
    assert time.monotonic() - begin < 2
    never.set()
    timer.join()


def test_a_conveyor_that_is_closed_ends_its_thread() -> None:
    closed = threading.Event()

    def numbers() -> t.Generator[int, None, None]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    conveyor = Conveyor(numbers, go_on, limit=3)
    assert [conveyor.take() for _ in range(5)] == [0, 1, 2, 3, 4]
    conveyor.close()
    assert closed.wait(10)


def test_a_call_made_aside_returns_or_raises_what_the_call_does() -> None:
    assert aside(lambda: None, go_on) is None
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0, go_on)


def rows(begin: int, count: int) -> bytes:
    return "".join(event(n) + "\n" for n in range(begin, begin + count)).encode()


def test_small_objects_on_a_slow_server_come_four_times_as_fast_as_one_by_one(
    place: Workplace, objects: ObjectServer
) -> None:
    objects.put("small", {f"{n:04}.json": rows(n * 50, 50) for n in range(120)})
    objects.behave(delay_ms=60)
    seconds = {}
    for files in (1, 8):
        begin = time.monotonic()
        run = place.sync(uris="s3://small/", prefetch_files=files, **objects.settings())
        seconds[files] = time.monotonic() - begin
        assert run.users == [f"u{n}" for n in range(120 * 50)]
    assert seconds[1] > 4 * seconds[8], seconds


def test_a_read_that_breaks_off_is_taken_up_at_its_byte(place: Workplace, objects: ObjectServer) -> None:
    objects.put("breaks", {"a.json": rows(0, 20_000)})
    objects.behave({"on": "a.json", "breaks": 300_000}, {"on": "a.json bytes=300000-", "breaks": 1})
    run = place.sync(uris="s3://breaks/", **objects.settings())
    assert run.users == [f"u{n}" for n in range(20_000)]
    ranges = [line.split()[2] for line in objects.requests() if "breaks/a.json" in line]
    assert ranges == ["-", "bytes=300000-", "bytes=300001-"]


def test_a_read_that_stalls_is_taken_up_at_its_byte(place: Workplace, objects: ObjectServer) -> None:
    objects.put("stalls", {"a.json": rows(0, 20_000)})
    objects.behave({"on": "a.json", "hangs": 300_000})
    run = place.sync(uris="s3://stalls/", request_timeout_seconds=1, **objects.settings())
    assert run.users == [f"u{n}" for n in range(20_000)]


def test_an_object_replaced_while_it_is_read_fails_loudly_and_is_read_anew(
    place: Workplace, objects: ObjectServer
) -> None:
    objects.put("changes", {"a.json": rows(0, 500), "b.json": rows(7000, 1)})
    objects.behave(
        {"on": "a.json", "breaks": 30_000}, {"on": "a.json bytes", "status": 412, "code": "PreconditionFailed"}
    )
    with pytest.raises(BadFileError):
        place.sync(uris="s3://changes/", **objects.settings())
    assert place.last.users == ["u7000"]
    assert place.last.report["bad_files"] == ["s3://changes/a.json"]
    objects.put("changes", {"a.json": rows(100, 500)})
    assert place.sync(uris="s3://changes/", state=place.last.state, **objects.settings()).users == [
        f"u{n}" for n in range(100, 600)
    ]


@pytest.mark.parametrize("on", ["GET /hangs?", "GET /hangs/a.json"])
def test_a_signal_ends_a_run_whose_server_hangs(place: Workplace, objects: ObjectServer, on: str) -> None:
    objects.put("hangs", {"a.json": rows(0, 20_000)})
    objects.behave({"on": on, "hangs": 10, "times": 100})
    command = place.command(uris="s3://hangs/", **objects.settings())
    tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder)
    until(lambda: any(on in line for line in objects.requests()))
    begin = time.monotonic()
    tap.send_signal(signal.SIGTERM)
    output, log = tap.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert tap.returncode == 143, log.decode()
    assert Run(output).messages[-1]["type"] == "STATE"


def test_a_server_killed_and_started_again_in_the_middle_costs_no_row(place: Workplace, objects: ObjectServer) -> None:
    objects.put("killed", {f"{n:03}.json": rows(n * 1000, 1000) for n in range(60)})
    objects.behave(delay_ms=5)
    command = place.command(uris="s3://killed/", state_interval_rows=500, **objects.settings())
    tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder, bufsize=0)
    assert tap.stdout is not None
    begin = b""
    while len(begin) < 500_000:  # the pipe stays full, so the tap is in the middle
        begin += tap.stdout.read(1 << 16)
    objects.kill()
    objects.start()
    output, log = tap.communicate(timeout=60)
    assert tap.returncode == 0, log.decode()
    assert Run(begin + output).users == [f"u{n}" for n in range(60_000)]


def test_ten_thousand_small_objects_are_loaded_once_and_a_second_run_reads_none(
    place: Workplace, objects: ObjectServer
) -> None:
    many = 10_000
    objects.put("many", {f"{n // 100:03}/{n:05}.json": rows(n, 1) for n in range(many)})
    run = place.run(uris="s3://many/", **objects.settings())
    assert run.code == 0, run.log
    assert run.users == [f"u{n}" for n in range(many)]
    before = len(objects.requests())
    again = place.run(uris="s3://many/", state=run.state, **objects.settings())
    assert (again.code, again.records) == (0, [])
    assert again.report["files_unchanged"] == many
    assert all("list-type=2" in line for line in objects.requests()[before:])
    assert len(str(run.state)) < 100 * many


def test_downloads_ahead_of_a_slow_reader_take_little_memory(place: Workplace, objects: ObjectServer) -> None:
    content = "".join(event(n, text="x" * 400) + "\n" for n in range(16_000)).encode()
    objects.put("large", {f"{n}.json": content for n in range(16)})
    assert place.peak_kib(uris="s3://large/", **objects.settings()) < 150 << 10
