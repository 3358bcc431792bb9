"""The account of a run: its equation closes, or the run fails."""

from __future__ import annotations

import typing as t

import pytest

from tap_coolafile.exceptions import StorageError, UnbalancedError
from tap_coolafile.report import Report, as_words

if t.TYPE_CHECKING:
    from pathlib import Path


def test_the_equation_closes() -> None:
    Report(rows_read=10, rows_sent=4, rows_rejected=3, rows_blank=2, rows_filtered=1).close()


def test_a_row_that_is_not_accounted_for_fails_the_run() -> None:
    with pytest.raises(UnbalancedError, match="10 rows were read but 9 accounted for"):
        Report(rows_read=10, rows_sent=9).close()


def test_rejects_are_counted_by_reason() -> None:
    report = Report()
    for reason in ("not_json", "bad_time", "not_json"):
        report.count_reject(reason)
    assert report.rows_rejected == 3
    assert as_words(report.rejected_by_reason) == "2 not_json, 1 bad_time"


def test_a_report_that_cannot_be_written_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="check report_path"):
        Report().write(str(tmp_path / "file" / "report.json"))
