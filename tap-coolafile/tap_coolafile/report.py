"""The account of a run: in go counts, out comes one JSON object whose equation must close.

`rows_read = rows_sent + rows_rejected + rows_blank + rows_filtered`, each in lines. Holds no event content.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import msgspec

from tap_coolafile.exceptions import StorageError, UnbalancedError


class Report(msgspec.Struct, kw_only=True):
    """What a run did. `rows_*` count lines of files, `files_*` files, `bytes_read` bytes of their content.

    `rows_held_back` are rows of bad files that were judged and neither sent nor rejected: their file stays pending.
    """

    run_id: str = ""
    stream: str = ""
    outcome: str = "complete"
    rows_read: int = 0
    rows_sent: int = 0
    rows_rejected: int = 0
    rows_blank: int = 0
    rows_filtered: int = 0
    rows_held_back: int = 0
    rejected_by_reason: dict[str, int] = {}
    first_rejected: str = ""
    integers_as_text: int = 0
    times_disagreeing: int = 0
    metadata_replaced: int = 0
    bytes_read: int = 0
    files_listed: int = 0
    files_read: int = 0
    files_new: int = 0
    files_unchanged: int = 0
    files_refused_by_name: int = 0
    files_before_start_date: int = 0
    files_other_shard: int = 0
    files_changed: int = 0
    files_archived: int = 0
    files_archived_forgotten: int = 0
    files_bad: int = 0
    bad_files: list[str] = []
    files_missing: int = 0
    missing_files: list[str] = []
    positions_forgotten: int = 0
    identities_forgotten_early: int = 0
    done_before: dict[str, str] = {}
    identities_forgotten_of_former_uris: int = 0
    former_uris_forgotten: int = 0
    first_uris_forgotten: list[str] = []
    properties_withheld: list[str] = []
    values_withheld: int = 0
    type_changes: dict[str, str] = {}
    rejects: str = ""

    @property
    def rows_mapped(self) -> int:
        """Rows that went through stream maps, whatever became of them."""
        return self.rows_sent + self.rows_filtered

    def close(self) -> None:
        """Check the equation.

        Raises:
            UnbalancedError: rows were read that are not accounted for.
        """
        accounted = self.rows_sent + self.rows_rejected + self.rows_blank + self.rows_filtered
        if self.rows_read != accounted:
            msg = f"{self.rows_read} rows were read but {accounted} accounted for; please report this as a defect"
            raise UnbalancedError(msg)

    def to_json(self) -> str:
        """Return the report as one line of JSON."""
        return msgspec.json.encode(self).decode()

    def write(self, path: str | None) -> None:
        """Write the report to `path`, if one is set.

        Raises:
            StorageError: it cannot be written; the message names `report_path`.
        """
        if path is None:
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(self.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            msg = f"the report cannot be written to {path} ({error.strerror}); check report_path"
            raise StorageError(msg) from None

    def count_reject(self, reason: str) -> None:
        """Count one rejected row."""
        self.rows_rejected += 1
        self.rejected_by_reason[reason] = self.rejected_by_reason.get(reason, 0) + 1


def as_words(counts: t.Mapping[str, int]) -> str:
    """Write counts as `3 not_json, 1 bad_time`, most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count} {word}" for word, count in ordered)
