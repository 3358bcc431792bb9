"""Faults on demand: a list of them in, for each track call at most one of them out.

In: the list as JSON, then the facts of each call. Out: the `Fault` to commit, or `None`. Refuses (`BadFaultsError`, in
words) a list it does not understand whole.

Each call is shown to the faults in the order of the list, and the first whose turn it is applies. A fault counts the
calls that reach it (that no earlier fault took) and that its `when` admits; of these it skips the first `after`,
takes every `every`-th of the rest, with the probability `chance`, and not more than `times` in all.
"""

from __future__ import annotations

import random
import typing as t

import msgspec

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from target_cooladata.sandbox.ingest import ReceivedEvent


Kind = t.Literal[
    "status", "slow", "reset_before_store", "reset_after_store", "status_false", "html", "empty", "truncated"
]

STORING_KINDS = frozenset({"slow", "reset_after_store", "html", "empty", "truncated"})
"""Faults of the answer alone: the call is stored first."""

_AtLeastOne = t.Annotated[int, msgspec.Meta(ge=1)]
_NotNegative = t.Annotated[int, msgspec.Meta(ge=0)]


class BadFaultsError(Exception):
    """The list of faults is not understood; `str()` says where and why."""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls a fault is for: all conditions given must hold.

    Attributes:
        property: with `values`: some event of the call has this key with one of these values.
        values: see `property`; called `in` in JSON.
        in_flight_over: more track calls than this are in flight, this one included. A call is in flight from when it
            was read until it is answered, and not at all if a fault without a delay refuses it.
    """

    property: str | None = None
    values: list[str | int | float] = msgspec.field(default_factory=list, name="in")
    in_flight_over: _NotNegative | None = None

    def __post_init__(self) -> None:
        if (self.property is None) == bool(self.values):
            msg = "`property` and `in` go together"
            raise ValueError(msg)
        if self.property is None and self.in_flight_over is None:
            msg = "`when` names no condition"
            raise ValueError(msg)

    def holds(self, events: Sequence[ReceivedEvent], in_flight: int) -> bool:
        """Say whether a call with these events is meant, while so many calls are in flight."""
        if self.in_flight_over is not None and in_flight <= self.in_flight_over:
            return False
        return self.property is None or any(
            type(e.value) is dict and e.value.get(self.property) in self.values for e in events
        )


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the list.

    Attributes:
        kind: what happens. `status`: this HTTP status. `slow`: the true answer, late. `reset_before_store`,
            `reset_after_store`: the connection is reset without an answer. `status_false`: 200 with `status` false.
            `html`, `empty`, `truncated`: 200 with such a body.
        times: how often, `None` for ever.
        every: each how manieth call.
        after: how many calls are let pass first.
        chance: how likely, when it is its turn; drawn from a sequence fixed by `seed`.
        seed: see `chance`.
        status: the HTTP status, for kind `status`.
        retry_after: its `Retry-After` header, verbatim.
        location: its `Location` header, verbatim.
        delay_ms: how long to wait before the answer or the reset; needed by `slow`.
        when: which calls it is for; `None` for all.
    """

    kind: Kind
    times: _AtLeastOne | None = None
    every: _AtLeastOne = 1
    after: _NotNegative = 0
    chance: t.Annotated[float, msgspec.Meta(gt=0, le=1)] = 1
    seed: int = 0
    status: t.Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    retry_after: str | int | None = None
    location: str | None = None
    delay_ms: _NotNegative = 0
    when: Condition | None = None

    def __post_init__(self) -> None:
        if (self.kind == "status") != (self.status is not None):
            msg = "kind `status` needs a `status`, and no other kind has one"
            raise ValueError(msg)
        if self.kind != "status" and (self.retry_after is not None or self.location is not None):
            msg = "only kind `status` has `retry_after` and `location`"
            raise ValueError(msg)
        if self.kind == "slow" and not self.delay_ms:
            msg = "kind `slow` needs a `delay_ms`"
            raise ValueError(msg)
        if any(c in "\r\n" for c in f"{self.retry_after}{self.location}"):
            msg = "a header is one line"
            raise ValueError(msg)


class FaultState(msgspec.Struct):
    """A fault and how it fared: how many calls it `counted`, how many of them it was `applied` to."""

    fault: Fault
    counted: int = 0
    applied: int = 0


class Faults:
    """The list in force."""

    def __init__(self) -> None:
        """Start with no faults."""
        self.states: list[FaultState] = []
        self._chances: list[random.Random] = []

    def replace(self, body: bytes) -> None:
        """Put another list in force.

        Args:
            body: a JSON array of faults.

        Raises:
            BadFaultsError: the list before it stays in force.
        """
        try:
            faults = msgspec.json.decode(body, type=list[Fault])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"not a list of faults: {error}"
            raise BadFaultsError(msg) from error
        self.states = [FaultState(fault) for fault in faults]
        self._chances = [random.Random(fault.seed) for fault in faults]  # noqa: S311 - repeatable, not secret

    def clear(self) -> None:
        """Have no faults."""
        self.states, self._chances = [], []

    def choose(self, events: Sequence[ReceivedEvent], in_flight: int) -> Fault | None:
        """Return the fault for this call, if any.

        Args:
            events: the call's events; empty if its body could not be read.
            in_flight: how many track calls are being handled, this one included.
        """
        for state, chances in zip(self.states, self._chances, strict=True):
            if _takes(state, chances, events, in_flight):
                state.applied += 1
                return state.fault
        return None


def _takes(state: FaultState, chances: random.Random, events: Sequence[ReceivedEvent], in_flight: int) -> bool:
    fault = state.fault
    if fault.when is not None and not fault.when.holds(events, in_flight):
        return False
    state.counted += 1
    turn = state.counted - fault.after
    spent = fault.times is not None and state.applied >= fault.times
    return turn > 0 and turn % fault.every == 0 and not spent and chances.random() < fault.chance
