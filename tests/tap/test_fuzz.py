"""Files with random bytes of them changed: nothing crashes, no untouched row is lost, the equation closes."""

from __future__ import annotations

import random

import pytest

from tests.tap.conftest import SEED_ROWS, Workplace, event

ROWS = 1000
MUTATIONS = 1000


@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_mutations_touch_no_other_row(place: Workplace, seed: int) -> None:
    rng = random.Random(seed)
    custom = {"price": 1.5, "city": "Zürich", "ip": "", "note": 'a "b" \\ c'}
    rows = [
        event(n, **custom) if n % 3 else SEED_ROWS[n % 4].replace("PU4UplQaZtaYWgRdLcntauwg", f"u{n}")
        for n in range(ROWS)
    ]
    data = bytearray("\n".join(rows).encode())
    begins = [0]
    for row in rows:
        begins.append(begins[-1] + len(row.encode()) + 1)
    touched: set[int] = set()
    row_at = [n for n, row in enumerate(rows) for _ in range(len(row.encode()) + 1)]
    for _ in range(MUTATIONS):
        at = rng.randrange(len(data))
        if data[at] == ord("\n"):
            touched.add(row_at[at] + 1)
        data[at] = rng.choice(b'\n\r"\\{}[]:,0u\x00\xff') if rng.random() < 0.5 else rng.randrange(256)
        touched.add(row_at[at])
    (place.data / "a.json").write_bytes(bytes(data))
    run = place.sync(max_invalid_percent=100, state_interval_rows=300)
    arrived = set(run.users)
    untouched = [f"u{n}" for n in range(ROWS) if n not in touched]
    assert len(untouched) > ROWS / 4
    assert set(untouched) <= arrived
    report = run.report
    assert report["rows_read"] == report["rows_sent"] + report["rows_rejected"] + report["rows_blank"]
    assert len(place.rejects()) == report["rows_rejected"]
    assert len(run.records) == report["rows_sent"]
