"""Queries over the stored events: a small part of CoolaData's query language, read-only.

In: the text of a query, the database and the clock. Out: a `Table`. Refuses (`CqlError`, in words) what `query`
refuses, and columns the schema does not know. Two walls keep a query from doing more: only the parts listed in `query`
are taken over, into a query of our own with every name replaced; and its connection may read nothing but events.

Only valid events are seen [documented].
"""

from __future__ import annotations

import sqlite3
import time
import typing as t

import msgspec
from sqlglot import exp

from target_cooladata.sandbox import date_range
from target_cooladata.sandbox.query import SOURCE, CqlError, is_date_range, parse

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from target_cooladata.sandbox.schema import Schema
    from target_cooladata.sandbox.store import Store

MAX_STAR_ROWS = 1_000
"""CoolaData CQL page: `select *` returns at most the first 1,000 rows."""

_DEADLINE_SECONDS = 30
_STEPS_BETWEEN_CHECKS = 100_000
_MAX_DIGITS = 18  # of a number SQLite takes

# CoolaData keeps what was sent as user_id and session_id under other names, and ids of its own under these
# [documented]. The sandbox makes no ids of its own.
_TIME = "event_time_ts"
_COLUMNS = {"event_name": "event_name", "customer_user_id": "user_id", _TIME: "event_time_ms"}
_PROPERTIES = {"customer_session_id": "session_id"}
_INSTEAD = {"user_id": "customer_user_id", "session_id": "customer_session_id", "event_timestamp_epoch": _TIME}

# fmt: off
_FUNCTIONS = {
    "count", "sum", "min", "max", "avg", "lower", "upper", "length", "round", "abs", "coalesce", "like",
    "json_extract", "strftime", "nullif",
}
# fmt: on


class Column(msgspec.Struct, frozen=True):
    """A column of an answer: its name, and its type `string`, `integer`, `float` or `timestamp`."""

    label: str
    type: str


class Table(msgspec.Struct, frozen=True):
    """An answer."""

    columns: list[Column]
    rows: list[tuple[t.Any, ...]]


def answer(store: Store, query: str, now_ms: int, *, times_as_sent: bool = False) -> Table:
    """Answer one query.

    Args:
        store: an open database; from then on its connection can only read events.
        query: the text of the query, with or without a semicolon at its end.
        now_ms: the clock that `date_range(last 7 days)` counts from, milliseconds since 1970 UTC.
        times_as_sent: give event times as milliseconds and not as `yyyy-mm-dd hh:mm:ss`.

    Returns:
        The columns in the order asked for, and the rows.

    Raises:
        CqlError: the query is not understood, not supported, or took too long.
    """
    translation = _Translation(parse(query), store.load_schema(), now_ms, times_as_sent=times_as_sent)
    sql = translation.sql()
    _restrict(store.connection)
    try:
        rows = store.connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        msg = f"the query failed: {error}"
        raise CqlError(msg) from error
    types = [_type_of(rows, i) for i in range(len(translation.labels))]
    for i in translation.times:
        types[i] = "timestamp"
    return Table([Column(*column) for column in zip(translation.labels, types, strict=True)], rows)


class _Translation:
    """A checked query over CoolaData's columns, being rebuilt as one over the sandbox's table."""

    def __init__(self, select: exp.Select, schema: Schema, now_ms: int, *, times_as_sent: bool) -> None:
        self._select = select
        self._now_ms = now_ms
        self._times_as_sent = times_as_sent
        self._keys: dict[str, list[str]] = {}
        for key, name in schema.names_by_key.items():
            self._keys.setdefault(name, []).append(key)
        self._tables = {"", SOURCE, select.args["from_"].this.alias.lower()}
        self._has_star = any(isinstance(item, exp.Star) for item in select.expressions)
        self._items = [column for item in select.expressions for column in self._expand(item)]
        names = [item.alias or (item.name if isinstance(item, exp.Column) else "") for item in self._items]
        unnamed = [i for i, name in enumerate(names) if not name]
        # BigQuery's own names; CoolaData's are not known.
        self.labels = [name or f"f{unnamed.index(i)}_" for i, name in enumerate(names)]
        self.times = [i for i, item in enumerate(self._items) if _is_time(item.unalias())]

    def sql(self) -> str:
        values = [item.unalias() for item in self._items]
        aliases = {item.alias.lower(): i for i, item in enumerate(self._items) if item.alias}
        group_aliases = {name: i for name, i in aliases.items() if not values[i].find(exp.AggFunc)}
        times_as_text = not self._times_as_sent
        query = exp.select(
            *(exp.alias_(self._rebuilt(v, {}, times_as_text=times_as_text), f"c{i}") for i, v in enumerate(values))
        ).from_("events")
        for clause, known in (("where", {}), ("group", group_aliases), ("having", aliases), ("order", aliases)):
            if node := self._select.args.get(clause):
                query.set(clause, self._rebuilt(node, known, times_as_text=clause == "where" or times_as_text))
        query = query.distinct(distinct=bool(self._select.args.get("distinct"))).where(exp.column("status").eq("valid"))
        limit, offset = _whole_number(self._select, "limit"), _whole_number(self._select, "offset")
        if self._has_star:
            limit = MAX_STAR_ROWS if limit is None else min(limit, MAX_STAR_ROWS)
        query = query if limit is None else query.limit(limit).offset(offset or 0)
        return query.sql(dialect="sqlite", comments=False)

    def _expand(self, item: exp.Expr) -> Sequence[exp.Expr]:
        if not isinstance(item, exp.Star):
            return [item]
        renamed = [name for name, sent in _PROPERTIES.items() if sent in self._keys]
        others = sorted(self._keys.keys() - {*_COLUMNS, *_PROPERTIES, *_INSTEAD})
        return [exp.column(name) for name in (*_COLUMNS, *renamed, *others)]

    def _rebuilt(self, node: exp.Expr, aliases: t.Mapping[str, int], *, times_as_text: bool) -> exp.Expr:
        def replace(part: exp.Expr) -> exp.Expr:
            if is_date_range(part):
                return self._within(part)
            if not isinstance(part, exp.Column):
                return part
            if not part.table and part.name.lower() in aliases:
                return exp.column(f"c{aliases[part.name.lower()]}")
            return self._column(part, times_as_text=times_as_text)

        return node.copy().transform(replace)

    def _column(self, column: exp.Column, *, times_as_text: bool) -> exp.Expr:
        name = column.name.lower()
        if column.table.lower() not in self._tables:
            msg = f"there is no table {column.table}"
            raise CqlError(msg)
        if name in _INSTEAD:
            msg = f"{name} is not what was sent under this name; that is {_INSTEAD[name]}"
            raise CqlError(msg)
        if name == _TIME and times_as_text:
            seconds = exp.column(_COLUMNS[_TIME]) / exp.Literal.number(1000)
            return _call("strftime", "%Y-%m-%d %H:%M:%S", seconds, "unixepoch")
        if name in _COLUMNS:
            return exp.column(_COLUMNS[name])
        keys = self._keys.get(_PROPERTIES.get(name, name))
        if not keys:
            msg = f"there is no column {name}"
            raise CqlError(msg)
        values = [_call("json_extract", exp.column("text"), f'$."{key}"') for key in keys]
        return _call("nullif", values[0] if len(values) == 1 else _call("coalesce", *values), "")  # as in validity

    def _within(self, call: exp.Expr) -> exp.Expr:
        words = call.expressions
        if len(words) != 1 or not isinstance(words[0], exp.Literal):
            msg = f"{date_range.NAME} is not understood"
            raise CqlError(msg)
        try:
            start_ms, end_ms = date_range.bounds_ms(words[0].name, self._now_ms)
        except date_range.DateRangeError as error:
            raise CqlError(str(error)) from error
        time_ms = exp.column(_COLUMNS[_TIME])
        conditions: list[exp.Expr] = [exp.true()]
        conditions += [time_ms >= start_ms] if start_ms is not None else []
        conditions += [time_ms < end_ms] if end_ms is not None else []
        return exp.paren(exp.and_(*conditions))


def _call(function: str, *arguments: exp.Expr | str) -> exp.Expr:
    """Call a function of SQLite by its name; `exp.func` would translate it into another."""
    values = [exp.Literal.string(a) if isinstance(a, str) else a for a in arguments]
    return exp.Anonymous(this=function, expressions=values)


def _whole_number(select: exp.Select, clause: str) -> int | None:
    node = select.args.get(clause)
    if node is None:
        return None
    value = node.expression
    if not isinstance(value, exp.Literal) or not value.is_int or len(value.name) > _MAX_DIGITS:
        msg = f"{clause} takes a whole number"
        raise CqlError(msg)
    return int(value.name)


def _is_time(value: exp.Expr) -> bool:
    """Say whether a selected value is an event time, or the first or last of them."""
    inner = value.this if isinstance(value, exp.Min | exp.Max) else value
    return isinstance(inner, exp.Column) and inner.name.lower() == _TIME


def _restrict(connection: sqlite3.Connection) -> None:
    """Let a connection read events and nothing else, for a bounded time."""
    connection.execute("pragma case_sensitive_like = on")  # values are case-sensitive [documented]
    deadline = time.monotonic() + _DEADLINE_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)

    def allow(action: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
        allowed = (
            action == sqlite3.SQLITE_SELECT
            or (action == sqlite3.SQLITE_READ and first == "events")
            or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS)
        )
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    connection.set_authorizer(allow)


def _type_of(rows: Sequence[tuple[t.Any, ...]], i: int) -> str:
    value = next((row[i] for row in rows if row[i] is not None), None)
    return {int: "integer", float: "float"}.get(type(value), "string")
