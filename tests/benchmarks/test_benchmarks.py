"""What the benchmarks rest on: data, accounts of processes, and checks that let no wrong run pass; without nginx."""

from __future__ import annotations

import json
import sys
import typing as t
import urllib.parse

import pytest

from benchmarks import checks, data, results
from benchmarks.__main__ import main
from benchmarks.bench import Figure, Sizes
from benchmarks.nginx import Calls
from benchmarks.processes import BIN, ROOT, Command, Ended, Watch, WrongError, run
from tests.commands import write_config

if t.TYPE_CHECKING:
    from pathlib import Path

ROWS = 700
GOOD = Calls(calls=3, body_bytes=0, others=0, seconds=0.0)


@pytest.mark.parametrize("shape", data.ROWS)
def test_rows_are_the_same_each_time(shape: str) -> None:
    assert list(data.ROWS[shape](50)) == list(data.ROWS[shape](50))


def test_plain_rows_have_290_bytes() -> None:
    assert {len(row) for row in data.plain_rows(2_000)} == {290}


@pytest.mark.parametrize("shape", data.ROWS)
def test_rows_have_the_properties_that_the_stock_tap_is_told(shape: str) -> None:
    rows = [json.loads(row) for row in data.ROWS[shape](200)]
    assert {name: type(value) for row in rows for name, value in row.items()} == data.PROPERTIES[shape]


def test_the_stock_tap_sends_every_property_of_the_seed_page(tmp_path: Path) -> None:
    rows = data.write_rows(tmp_path / "rows.json", data.seed_rows(20))
    config = write_config(tmp_path, path=str(rows), shape="seed")
    command: Command = [sys.executable, "-m", "benchmarks.peers.stock_tap", "--config", config]
    ended = run(command, folder=tmp_path).require_success()
    messages = [json.loads(line) for line in ended.output.splitlines()]
    records = [message["record"] for message in messages if message["type"] == "RECORD"]
    assert [{name: value for name, value in record.items() if value is not None} for record in records] == [
        json.loads(row) for row in data.seed_rows(20)
    ]


def test_seed_rows_hold_what_is_hard_about_the_seed_page() -> None:
    text = b"\n".join(data.seed_rows(200))
    assert b'"ip":""' in text
    assert b'"event_timestamp":"' in text
    assert b'"qty":"1"' in text
    assert not text.isascii()


@pytest.mark.parametrize("shape", data.ROWS)
def test_the_tap_makes_of_the_rows_what_is_expected(shape: str, tmp_path: Path) -> None:
    rows = data.write_rows(tmp_path / "rows.json", data.ROWS[shape](ROWS))
    config = write_config(tmp_path, uris=[str(rows)], rejects_path=str(tmp_path / "rejects"))
    ended = run([BIN / "tap-coolafile", "--config", config], folder=tmp_path)
    checks.tap(ended, ROWS)
    checks.records(ended.output.splitlines(), shape, ROWS)
    with pytest.raises(WrongError, match=f"record {ROWS}: None"):
        checks.records(ended.output.splitlines()[:-2], shape, ROWS)


@pytest.fixture
def bodies() -> list[bytes]:
    events = [json.dumps(data.expected_event(row), separators=(",", ":")) for row in data.plain_rows(ROWS)]
    calls = [events[:300], events[300:600], events[600:]]
    return [urllib.parse.quote('{"events":[' + ",".join(call) + "]}", safe="-_.!~*'()").encode() for call in calls]


def test_the_body_bytes_that_rows_need_are_those_of_their_bodies(bodies: list[bytes], tmp_path: Path) -> None:
    rows = data.write_rows(tmp_path / "rows.json", data.plain_rows(ROWS))
    assert checks.Need(bodies).measure(rows).body_bytes(3) == sum(map(len, bodies))


def test_bodies_with_an_event_missing_or_repeated_are_wrong(bodies: list[bytes]) -> None:
    checks.bodies(bodies, ROWS)
    with pytest.raises(WrongError, match="calls: 2, expected 3"):
        checks.bodies(bodies[:2], ROWS)
    with pytest.raises(WrongError, match="event"):
        checks.bodies([bodies[0], bodies[0], bodies[2]], ROWS)


@pytest.mark.parametrize(
    ("report", "calls"),
    [
        ({"events_delivered": ROWS - 1}, GOOD),
        ({"equation_closes": False}, GOOD),
        ({"retries": 1}, GOOD),
        ({}, Calls(calls=4, body_bytes=0, others=0, seconds=0.0)),
        ({}, Calls(calls=3, body_bytes=1, others=0, seconds=0.0)),
        ({}, Calls(calls=3, body_bytes=0, others=1, seconds=0.0)),
    ],
)
def test_a_wrong_count_is_told(report: dict[str, t.Any], calls: Calls, bodies: list[bytes], tmp_path: Path) -> None:
    need = checks.Need(bodies).measure(data.write_rows(tmp_path / "rows.json", data.plain_rows(ROWS)))
    size = need.body_bytes(3)
    good = {"events_delivered": ROWS, "records_read": ROWS, "equation_closes": True, "retries": 0, "calls": 3}
    checks.target(_ended(good), Calls(calls=3, body_bytes=size, others=0, seconds=0.0), need, ROWS)
    counted = Calls(calls=calls.calls, body_bytes=size + calls.body_bytes, others=calls.others, seconds=0.0)
    with pytest.raises(WrongError):
        checks.target(_ended(good | report), counted, need, ROWS)


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongError, match="exited with 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"], ["cat"], folder=tmp_path).require_success()


def test_commands_in_a_pipe_are_accounted_for_one_by_one(tmp_path: Path) -> None:
    eater = "data = bytearray(b'x') * (120 << 20); print(len(data))"
    ended = run([sys.executable, "-c", eater], ["cat"], folder=tmp_path).require_success()
    assert ended.output == f"{120 << 20}\n"
    assert ended.peak_mb[0] > 120
    assert len(ended.cpu_seconds) == 2


def test_memory_of_what_a_command_starts_is_watched(tmp_path: Path) -> None:
    eater = "import time; data = bytearray(b'grandchild') * (12 << 20); time.sleep(0.5)"
    with Watch("grandchild", "nobody") as watch:
        run(["sh", "-c", f'"{sys.executable}" -c "{eater}"; true'], folder=tmp_path).require_success()
    assert watch.peaks["grandchild"] > 120
    assert watch.peaks["nobody"] == 0


def test_the_table_says_what_holds() -> None:
    figures = [
        Figure(measure="fast", result=12.3, required=12),
        Figure(measure="slow", result=1.2, required=1.1, at_most=True),
        Figure(measure="later", result=None, required=12),
    ]
    lines = results.document(figures, Sizes(), nginx="1", start=results.Start.now()).splitlines()[-3:]
    assert [line.split(" | ")[1:4] for line in lines] == [
        ["**12.3 \u00d7**", "≥ 12 \u00d7", "yes"],
        ["**1.2 \u00d7**", "≤ 1.1 \u00d7", "**no**"],
        ["-", "≥ 12 \u00d7", ""],
    ]


def test_figures_in_the_readme_are_those_of_the_newest_whole_run() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## How fast")[2].partition("\n## ")[0]
    newest = max((ROOT / "benchmarks" / "results").glob("????-??-??.md"))
    measured = _cells(newest.read_text(encoding="utf-8"))
    bounded = [[measure, result] for measure, result, bound, *_ in measured if bound]
    assert [[measure, result] for measure, result, *_ in _cells(section)] == bounded
    assert all(result != "-" for _, result in bounded)
    assert f"benchmarks/results/{newest.name}" in section


def _cells(text: str) -> list[list[str]]:
    """The rows of a table, without its head."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return rows[2:]


def test_variables_of_pythons_do_not_reach_what_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # would have every start compile all that it imports
    ended = run([sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"], folder=tmp_path)
    assert ended.require_success().output == "False\n"


def test_an_unknown_measure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "tap-seed" in capsys.readouterr().err


def _ended(report: dict[str, t.Any]) -> Ended:
    log = f"Report: {json.dumps(report)}"
    return Ended(seconds=1, cpu_seconds=[1], peak_mb=[1], codes=[0], logs=[log], output="")
