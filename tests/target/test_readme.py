"""What the README says of records and answers, line by line."""

from __future__ import annotations

import re
import typing as t

import msgspec
import pytest

from target_cooladata.client import STATUSES, Kind, judge
from target_cooladata.configuration import parse
from target_cooladata.events import REASONS, EventMaker, Facts
from target_cooladata.exceptions import Rejected
from target_cooladata.settings import StreamSettings
from target_cooladata.target import TargetCoolaData
from tests.settings_docs import ROOT

TEXT = (ROOT / "target-cooladata" / "README.md").read_text()
RECORD = '"event_name":"e","user_id":"u","event_time_ts":1425920218354'
EVENT = '"event_name":"e","user_id":"u","event_timestamp_epoch":1425920218354'


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    lines = TEXT[TEXT.index(f"| {first} |") :].splitlines()[2:]
    table = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in table]


@pytest.mark.parametrize("row", rows("record"), ids=lambda row: " ".join(row)[:90])
def test_a_record_becomes_what_the_table_says(row: list[str]) -> None:
    record, settings, expected = (re.sub(r"^`(.*)`.*$", r"\1", cell) for cell in row)
    given: dict[str, t.Any] = msgspec.json.decode(settings) if settings else {}
    config = TargetCoolaData(config={"endpoint_url": "sandbox:x.db", **given}).config
    maker = EventMaker("stream", StreamSettings(), parse(config), Facts())
    raw = record.replace("…", RECORD).encode()
    if expected in REASONS:
        with pytest.raises(Rejected) as verdict:
            maker.make(raw)
        assert verdict.value.reason == expected
        return
    found = maker.make(raw)
    # Compared as text, member by member: numbers keep their spelling.
    members = msgspec.json.Decoder(dict[str, msgspec.Raw])
    assert {name: bytes(value) for name, value in members.decode(found).items()} == {
        name: bytes(value) for name, value in members.decode(expected.replace("…", EVENT).encode()).items()
    }


def test_every_reason_is_named() -> None:
    assert all(reason in TEXT for reason in REASONS)


def test_every_status_of_the_table_of_answers_is_treated_as_it_says() -> None:
    done = {row[0]: row[1] for row in rows("answer")}
    words = {Kind.RETRY: "sent again", Kind.SPLIT: "halved", Kind.FATAL: "the run stops"}
    for status, (kind, _) in STATUSES.items():
        (treatment,) = [done[answer] for answer in done if re.search(rf"\b{status}\b", answer)]
        assert words[kind] in treatment
    assert judge(503, b"", None).kind is Kind.RETRY
    assert judge(302, b"", None).kind is Kind.FATAL
    assert judge(418, b"", None).kind is Kind.SPLIT
