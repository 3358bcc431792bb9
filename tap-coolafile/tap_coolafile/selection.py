"""Which of the listed files a run reads, and from where: in goes a listing, out come tasks in its order.

Passes over files by name rule, by another entry of `uris` that matched first, by shard, by `start_date`, and those that
the bookmark calls done. A changed file is judged by `on_changed_file`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import typing as t

import msgspec

from tap_coolafile.exceptions import BadFileError, SettingError
from tap_coolafile.growth import grown
from tap_coolafile.places import Position
from tap_coolafile.sources.ahead import Ahead
from tap_coolafile.sources.base import FileItem  # noqa: TC001 - msgspec reads the annotation of Task
from tap_coolafile.uris import NAME_RULE, Pattern, allowed, parse

if t.TYPE_CHECKING:
    import logging

    from tap_coolafile.bookmarks import Bookmark
    from tap_coolafile.configuration import Settings
    from tap_coolafile.report import Report
    from tap_coolafile.sources.base import Source

_REJECTS = re.compile(r"/\d{4}-\d\d-\d\d/\d{8}T\d{6}Z-[0-9a-f]{6}([.-]\d+)?\.json$")


class Shard(msgspec.Struct, frozen=True):
    """This run reads the files whose hash leaves the remainder `index` (from 0) when divided by `count`."""

    count: int
    index: int

    @classmethod
    def of(cls, settings: Settings, environment: t.Mapping[str, str]) -> Shard | None:
        """Find this run's shard: by its settings, or by what Kubernetes or AWS Batch put into the environment.

        Raises:
            SettingError: an index without a count, none for a count, or one that is too large.
        """
        count, index = settings.shard_count, settings.shard_index
        if count is None:
            if index is not None:
                msg = "shard_index is set without shard_count"
                raise SettingError(msg)
            return None
        if index is None:
            text = environment.get("JOB_COMPLETION_INDEX") or environment.get("AWS_BATCH_JOB_ARRAY_INDEX") or ""
            if not text.isdecimal():
                msg = (
                    "shard_count is set, but neither shard_index nor JOB_COMPLETION_INDEX nor AWS_BATCH_JOB_ARRAY_INDEX"
                )
                raise SettingError(msg)
            index = int(text)
        if index >= count:
            msg = f"shard_index {index} is too large: with shard_count {count} the last one is {count - 1}"
            raise SettingError(msg)
        return cls(count, index)

    def owns(self, name: str) -> bool:
        """Tell whether the file of this name is this run's; the same on every machine and Python."""
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


class Task(msgspec.Struct):
    """One file to read from `start` on; or, if `trouble` is set, a file that cannot be read and why."""

    item: FileItem
    start: Position
    trouble: BadFileError | None = None


class Selection:
    """Chooses among the listed files of one run; `check` raises once a signal came."""

    def __init__(
        self,
        settings: Settings,
        *,
        report: Report,
        logger: logging.Logger,
        shard: Shard | None,
        check: t.Callable[[], None],
    ) -> None:
        self._settings = settings
        self._check = check
        self._report = report
        self._logger = logger
        self._shard = shard
        self._rejects = _own_rejects(settings)
        self.matched = False

    def tasks(
        self, source: Source, mark: Bookmark, pattern: Pattern, earlier: t.Sequence[Pattern]
    ) -> t.Generator[Task, None, None]:
        """List one entry of `uris`, from where an interrupted pass stopped, and yield what is to be read."""
        for item in self._listed(source, mark, pattern, earlier):
            mark.begin(source.now_ms())  # not only at the first file to be read: listing up to there takes its time
            self._report.files_listed += 1
            if not self._obeys_name_rule(item):
                continue
            self.matched = True
            if self._is_passed_over(item, pattern, earlier) or not self._is_ours(item):
                continue
            if item.archived:
                self.put_off(mark, item)
                continue
            task = self._judged(source, mark, item)
            if task is not None:
                yield task

    def _listed(
        self, source: Source, mark: Bookmark, pattern: Pattern, earlier: t.Sequence[Pattern]
    ) -> t.Iterator[FileItem]:
        if not isinstance(source, Ahead):
            return source.files(mark.reached)
        return source.files_ahead(
            mark.reached,
            lambda item: None if self._is_passed_over(item, pattern, earlier) else self._foreseen(mark, item),
        )

    def _is_passed_over(self, item: FileItem, pattern: Pattern, earlier: t.Sequence[Pattern]) -> bool:
        """Tell whether another entry of `uris` has the file, or it is one that the tap itself wrote."""
        is_reject = pattern.kind != "file" and _REJECTS.search(item.path) is not None
        return _is_covered(item, pattern, (*earlier, *self._rejects) if is_reject else earlier)

    def _foreseen(self, mark: Bookmark, item: FileItem) -> int | None:
        """Tell from which byte `item` will be read when its turn comes, None if it will not; count nothing yet."""
        if item.archived or not allowed(item.path, compressed=self._settings.allow_compressed):
            return None
        if self._shard is not None and not self._shard.owns(item.name):
            return None
        verdict = mark.foresee(item)
        if verdict == "done" or (verdict == "new" and self._is_before_start(item)):
            return None
        if verdict == "new" or item.compressed:
            return 0
        known = mark.known(item)
        if known.etag == item.etag or self._settings.on_changed_file == "append":
            return known.offset
        return 0 if known.offset == 0 or self._settings.on_changed_file == "reload" else None

    def _obeys_name_rule(self, item: FileItem) -> bool:
        if allowed(item.path, compressed=self._settings.allow_compressed):
            return True
        if not self._report.files_refused_by_name:
            self._logger.info("Passing over %s and any like it: %s", item.name, NAME_RULE)
        self._report.files_refused_by_name += 1
        return False

    def _is_ours(self, item: FileItem) -> bool:
        if self._shard is None or self._shard.owns(item.name):
            return True
        self._report.files_other_shard += 1
        return False

    def put_off(self, mark: Bookmark, item: FileItem) -> None:
        """Leave a file that is archived to a later run, unless it is done; count it, name the first."""
        verdict = mark.verdict(item)
        if verdict == "done":
            self._report.files_unchanged += 1
            return
        if verdict == "new" and self._is_before_start(item):
            self._report.files_before_start_date += 1
            return
        mark.put_off(item)
        if not self._report.files_archived:
            self._logger.warning(
                "%s is archived and cannot be read, nor can any like it; once it is restored, a later run reads it",
                item.name,
            )
        self._report.files_archived += 1

    def _is_before_start(self, item: FileItem) -> bool:
        return self._settings.start_ms is not None and item.mtime_ms < self._settings.start_ms

    def _judged(self, source: Source, mark: Bookmark, item: FileItem) -> Task | None:
        verdict = mark.verdict(item)
        if verdict == "done":
            self._report.files_unchanged += 1
            return None
        if verdict == "new":
            if self._is_before_start(item):
                self._report.files_before_start_date += 1
                return None
            self._report.files_new += 1
            return Task(item, Position(item.path, item.etag))
        known = mark.known(item)
        if known.etag == item.etag:
            return Task(item, known)
        if known.offset == 0:
            return Task(item, Position(item.path, item.etag))
        self._report.files_changed += 1
        return self._changed(source, mark, item, known)

    def _changed(self, source: Source, mark: Bookmark, item: FileItem, known: Position) -> Task | None:
        rule = self._settings.on_changed_file
        if rule == "reload":
            return Task(item, Position(item.path, item.etag))
        if rule == "skip":
            mark.finish(item, known)
            return None
        if rule == "fail":
            msg = f"{item.name} changed after it was read; on_changed_file is fail"
            raise BadFileError(msg)
        try:
            start = grown(source, item, known, self._check)
        except BadFileError as bad:
            return Task(item, known, bad)
        if start is not None:
            return Task(item, start)
        msg = f"{item.name} changed otherwise than by growing after it was read; on_changed_file: reload reads it anew"
        return Task(item, known, BadFileError(msg))


def patterns_of(texts: t.Iterable[str], parse: t.Callable[[str], Pattern], *, compressed: bool) -> list[Pattern]:
    """Read `uris`, each name once.

    Raises:
        SettingError: a literal file breaks the name rule, or two entries name the same for different users.
    """
    patterns: dict[str, Pattern] = {}
    for pattern in map(parse, texts):
        same = patterns.get(pattern.name, pattern)
        patterns[pattern.name] = pattern
        if same.user != pattern.user:
            msg = (
                f"uris names {pattern.name} for two users, {same.user or 'none'} and {pattern.user or 'none'}, whose "
                f"files could not be told apart; give each user a configuration and state of its own"
            )
            raise SettingError(msg)
    for pattern in patterns.values():
        if pattern.kind == "file" and not allowed(pattern.path, compressed=compressed):
            gzipped = allowed(pattern.path, compressed=True)
            msg = (
                f"{pattern.name} is refused by its name: {NAME_RULE}; check {'allow_compressed' if gzipped else 'uris'}"
            )
            raise SettingError(msg)
    return list(patterns.values())


def _own_rejects(settings: Settings) -> tuple[Pattern, ...]:
    """Say where rejects are kept: a folder of rows among others is not to be fed with its own."""
    if settings.unwrap_rejects:
        return ()
    with contextlib.suppress(SettingError):  # it may be a place that no URI of files can name
        return (parse(settings.rejects_path.rstrip("/") + "/"),)
    return ()


def _is_covered(item: FileItem, pattern: Pattern, earlier: t.Sequence[Pattern]) -> bool:
    return any(_same_place(other, pattern) and other.matches(item.path) for other in earlier)


def _same_place(one: Pattern, other: Pattern) -> bool:
    # Two literal files, which a query may tell apart, are the same only if their names are: those were made unique.
    is_listed = one.kind != "file" or other.kind != "file"
    return is_listed and one.scheme == other.scheme and one.place == other.place
