"""The end of a run: its report, and what the user should know beside it.

In: what was counted. Out: one line with the report, a file if `report_path` asks for one, and warnings. It says of a
report whose equation does not close that the run has failed.
"""

from __future__ import annotations

import itertools
import typing as t

import msgspec

from target_cooladata import report

if t.TYPE_CHECKING:
    import logging

    from target_cooladata.events import Facts
    from target_cooladata.settings import Settings

DRY_RUN_CALL_SECONDS = 0.1  # what an estimate takes a call to last


def close(tally: report.Tally, facts: Facts, settings: Settings, logger: logging.Logger) -> list[str]:
    """Report a run.

    Args:
        tally: records and calls, counted.
        facts: what was noticed of the events.
        settings: the settings.
        logger: the target's.

    Returns:
        Why the report means that the run has failed.

    Raises:
        TargetError: the report cannot be written.
    """
    found = tally.report(
        events_outside_default_window=facts.outside_window,
        time_conflicts=facts.time_conflicts,
        numbers_made_text=facts.digits,
        properties_renamed=dict(itertools.islice(facts.book.told.items(), 1_000)),
        properties_mixed=sorted(facts.book.shared)[:1_000],
        type_changes=dict(facts.kinds.changes.most_common(100)),
        **_estimate(tally, settings, logger),
    )
    _warn(tally, facts, logger)
    logger.info("Report: %s", msgspec.json.encode(found).decode())
    if settings.report_path:
        report.write(found, settings.report_path)
    return [] if found["equation_closes"] else ["the report's equation does not close: records are unaccounted for"]


def _estimate(tally: report.Tally, settings: Settings, logger: logging.Logger) -> dict[str, t.Any]:
    """What a dry run says of the real one."""
    if not settings.dry_run:
        return {}
    calls = tally.dry_calls
    seconds = calls * DRY_RUN_CALL_SECONDS / settings.max_concurrency
    if settings.max_requests_per_second:
        seconds = max(seconds, calls / settings.max_requests_per_second)
    logger.info(
        "Dry run: nothing was sent and no state is written. %d events in %d calls, about %.1f minutes at %d calls at "
        "once and %d ms each.",
        tally.undelivered,
        calls,
        seconds / 60,
        settings.max_concurrency,
        DRY_RUN_CALL_SECONDS * 1000,
    )
    return {"dry_run": {"calls": calls, "minutes": round(seconds / 60, 2)}}


def _warn(tally: report.Tally, facts: Facts, logger: logging.Logger) -> None:
    if facts.outside_window:
        logger.warning(
            "%d events are older than 30 days or more than 1 hour ahead. CoolaData marks such events invalid until "
            "the project's window is widened (Project settings); ask for it before a backfill.",
            facts.outside_window,
        )
    if facts.book.told:
        shown = [f"{name} as {sent}" for name, sent in itertools.islice(facts.book.told.items(), 20)]
        logger.warning(
            "%d properties have names that CoolaData refuses, and are sent under others: %s",
            len(facts.book.told),
            ", ".join(shown),
        )
    if facts.book.shared:
        logger.warning(
            "Properties that have the name another one was given before, so that both are in it: %s; rename one by "
            "`stream_maps`, or set `property_names` to `reject`",
            ", ".join(sorted(facts.book.shared)[:20]),
        )
    for change in list(facts.kinds.changes)[:20]:
        logger.warning("Property type changes, which makes events invalid in CoolaData: %s", change)
    rejected = tally.total("events_rejected")
    if rejected:
        logger.warning(
            "%d records were refused and are kept in %s: %s",
            rejected,
            tally.rejects,
            ", ".join(f"{reason} {count}" for reason, count in tally.reject_reasons.most_common()),
        )
