"""The text of a query in, a checked `select` out, its names not looked at yet.

Refuses (`CqlError`, in words) whatever is not listed here. Supported are: columns, `*`, `count`, `sum`, `min`, `max`,
`avg`, `lower`, `upper`, `length`, `round`, `abs`, `coalesce`, arithmetic, comparisons, `in`, `between`, `like`,
`is null`, `and`, `or`, `not`, `distinct`, `group by`, `having`, `order by`, `limit` and `offset`; from `cooladata`,
with `date_range(…)` in the `where`.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from target_cooladata.sandbox import date_range

SOURCE = "cooladata"
"""The table of a project's events [documented]."""

_DIALECT = "bigquery"  # CoolaData stores in BigQuery and takes its SQL [documented]
_CLAUSES = {"expressions", "from_", "where", "group", "having", "order", "limit", "offset", "distinct"}
# fmt: off
_NODES = (
    exp.Select, exp.From, exp.Table, exp.TableAlias, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered,
    exp.Limit, exp.Offset, exp.Distinct, exp.Alias, exp.Column, exp.Identifier, exp.Literal, exp.Star, exp.Null,
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.Lower, exp.Upper, exp.Length, exp.Round, exp.Abs,
    exp.Coalesce, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.Paren, exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ,
    exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Like, exp.Is,
)
# fmt: on


class CqlError(Exception):
    """The query cannot be answered; `str()` says why."""


def parse(query: str) -> exp.Select:
    """Parse and check one query, with or without a semicolon at its end.

    Raises:
        CqlError: it is not understood, or asks for something that is not supported.
    """
    try:
        quoted = date_range.quote_date_ranges(query, _DIALECT)
        statements = [s for s in sqlglot.parse(quoted, read=_DIALECT) if s is not None]
    except date_range.DateRangeError as error:
        raise CqlError(str(error)) from error
    except (SqlglotError, RecursionError) as error:
        msg = "the query is not understood"
        raise CqlError(msg) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        msg = "the query has to be one select"
        raise CqlError(msg)
    problems = (_problem_with(statements[0], node) for node in statements[0].walk())
    if problem := next(filter(None, problems), None):
        raise CqlError(problem)
    _check_clauses(statements[0])
    return statements[0]


def is_date_range(node: exp.Expr) -> bool:
    """Say whether a node is a call of `date_range`."""
    return isinstance(node, exp.Anonymous) and node.name.lower() == date_range.NAME


def _problem_with(select: exp.Select, node: exp.Expr) -> str | None:
    if is_date_range(node):
        return None if node.find_ancestor(exp.Where) else f"{date_range.NAME} belongs into the where"
    if not isinstance(node, _NODES):
        return f"not supported: {node.name if isinstance(node, exp.Anonymous) else node.key}"
    is_star_elsewhere = isinstance(node, exp.Star) and not isinstance(node.parent, exp.Select | exp.Count)
    unsupported = (
        ("a select in a select", isinstance(node, exp.Select) and node is not select),
        ("distinct on", isinstance(node, exp.Distinct) and node.args.get("on")),
        (f"{node.key} of several values", isinstance(node, exp.Min | exp.Max) and node.expressions),
        ("* in this place", is_star_elsewhere),
    )
    return next((f"not supported: {what}" for what, found in unsupported if found), None)


def _check_clauses(select: exp.Select) -> None:
    unknown = {name for name, value in select.args.items() if value} - _CLAUSES
    if group := select.args.get("group"):
        unknown |= {name for name, value in group.args.items() if value} - {"expressions"}
    if unknown:
        msg = f"not supported: {', '.join(sorted(unknown))}"
        raise CqlError(msg)
    source = select.args.get("from_")
    table = source.this if source else None
    if not isinstance(table, exp.Table) or table.name.lower() != SOURCE or table.db:
        msg = f"the only table is {SOURCE}"
        raise CqlError(msg)
    where = select.args.get("where")
    if not where or not any(is_date_range(node) for node in where.walk()):
        msg = f"from {SOURCE} needs {date_range.NAME}(…) in the where"  # [documented]
        raise CqlError(msg)
