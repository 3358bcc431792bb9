"""Files with random bytes changed, put in and taken out: nothing crashes, no row is lost, the equation closes."""

from __future__ import annotations

import base64
import gzip
import random
import typing as t
from array import array

import pytest

from tests.tap.conftest import SEED_ROWS, Workplace, event

ROWS = 1000
MUTATIONS = 1000
BYTES = b'\n\r"\\{}[]:,0u\x00\xff'
BOM = b"\xef\xbb\xbf"


class Mutated:
    """The bytes of a file of `rows`, being mutated; `touched` holds the rows, by number, of which a byte was."""

    def __init__(self, rows: list[str], feed: bytes, rng: random.Random) -> None:
        self._rng = rng
        self._heads = [0]
        self.data, self._owner, self.touched = bytearray(), array("H"), set[int]()
        for number, row in enumerate(rows):
            line = row.encode() + feed
            self.data += line
            self._owner.extend([number] * len(line))
            self._heads.append(len(self.data))

    def mutate(self) -> None:
        """Change, put in or take out a byte; more often than not near the beginning of a row, where names stand."""
        rng = self._rng
        head = rng.choice(self._heads) + rng.randrange(200)
        at = head if rng.random() < 0.8 and head < len(self.data) else rng.randrange(len(self.data))
        self.touched.add(self._owner[at])
        byte = rng.choice(BYTES) if rng.random() < 0.5 else rng.randrange(256)
        kind = rng.randrange(4)
        if kind == 0:
            self.data.insert(at, byte)
            self._owner.insert(at, self._owner[at])
            return
        if self.data[at] == ord("\n") and at + 1 < len(self.data):
            self.touched.add(self._owner[at + 1])
        if kind == 1:
            del self.data[at], self._owner[at]
        else:
            self.data[at] = byte

    def lines(self) -> dict[int, tuple[int, bytes]]:
        """Return each line by its number from 1: the row that its first byte is of, and its bytes."""
        found: dict[int, tuple[int, bytes]] = {}
        begin = 0
        for number, line in enumerate(self.data.removesuffix(b"\n").split(b"\n"), 1):
            found[number] = (self._owner[begin], bytes(line))
            begin += len(line) + 1
        return found


def rows_of(count: int) -> list[str]:
    custom = {"price": 1.5, "city": "Zürich", "ip": "", "note": 'a "b" \\ c'}
    seeds = [row.replace("PU4UplQaZtaYWgRdLcntauwg", "u{}") for row in SEED_ROWS]
    return [
        event(n, text="é" * 20_000)
        if n % 40 == 7
        else event(n, **custom)
        if n % 3
        else seeds[n % 4].replace("u{}", f"u{n}")
        for n in range(count)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_mutations_lose_no_row_and_change_no_other(place: Workplace, seed: int) -> None:
    rng = random.Random(seed)
    rows = rows_of(ROWS)
    place.write("a.json", *rows)
    pristine = place.sync().records
    (place.data / "a.json").unlink()
    file = Mutated(rows, b"\r\n" if seed % 2 else b"\n", rng)
    for _ in range(MUTATIONS):
        file.mutate()
    content = (BOM if seed % 3 == 0 else b"") + bytes(file.data)
    if seed % 5:
        (place.data / "b.json").write_bytes(content)
    else:
        (place.data / "b.json.gz").write_bytes(gzip.compress(content, 1))
    run = place.sync(max_invalid_percent=100, state_interval_rows=300, add_metadata_columns=True, allow_compressed=True)
    report, rejects = run.report, place.rejects()
    assert report["rows_read"] == report["rows_sent"] + report["rows_rejected"] + report["rows_blank"]
    assert (len(run.records), len(rejects)) == (report["rows_sent"], report["rows_rejected"])

    lines = file.lines()
    sent = {record["_sdc_source_lineno"]: own(record) for record in run.records}
    refused = {reject["line"]: reject for reject in rejects}
    blank = [number for number, (_, line) in lines.items() if not line.strip(b" \t\r")]
    assert sorted([*sent, *refused, *blank]) == list(lines)
    for number, reject in refused.items():
        assert kept(reject) == lines[number][1].rstrip(b"\r")
        assert content[reject["offset"] :].startswith(kept(reject))
    untouched = {number: row for number, (row, _) in lines.items() if row not in file.touched}
    assert len(untouched) > ROWS / 4
    assert len(set(untouched.values())) == len(untouched) >= ROWS - len(file.touched)
    assert {number: sent[number] for number in untouched} == {n: pristine[row] for n, row in untouched.items()}
    assert list(sent) == sorted(sent)


def kept(reject: dict[str, t.Any]) -> bytes:
    if "row_base64" in reject:
        return base64.b64decode(reject["row_base64"])
    return t.cast("str", reject["row"]).encode()


def own(record: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in record.items() if not name.startswith("_sdc_")}
