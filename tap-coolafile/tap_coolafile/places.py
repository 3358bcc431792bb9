"""The stream's part of a Singer state as it is written: one place per URI, of strings and integers only.

They stand in a list, each with its URI: Meltano may lay a state over the one before it, key by key (`--full-refresh`,
`--state-strategy=merge`), and only a list is replaced as a whole, so that nothing of the old one shines through.

Refuses the state of another version or another shard, and one that is damaged.
"""

from __future__ import annotations

import typing as t

import msgspec

from tap_coolafile import identities
from tap_coolafile.exceptions import StateError

if t.TYPE_CHECKING:
    from tap_coolafile.identities import Done

VERSION = 3
_VERSIONS_READ = (1, 2, 3)


class Position(msgspec.Struct, omit_defaults=True):
    """A place inside one file: everything before `offset` (bytes) was read, and acknowledged by a STATE.

    `line` counts the lines before it, `rows` and `invalid` those among them that were not blank and that were
    rejected. `head` identifies the bytes read (see reading.Head). `missing` is since when no listing shows it.
    """

    path: str
    etag: str
    offset: int = 0
    line: int = 0
    rows: int = 0
    invalid: int = 0
    head: str = ""
    missing: int = 0


class Place(msgspec.Struct, omit_defaults=True):
    """State of one URI, as it stands in the Singer state.

    `passed` and `recent` are identities of files done, those that the pass which goes on has come by and the others;
    they, `pending` and `archived` (short hashes of paths) are kept apart while running. `left` is when the URI was
    found to be configured no longer.
    """

    pass_started: int = 0
    reached: str = ""
    done_before: int = 0
    forget_before: int = 0
    left: int = 0
    passed: str = ""
    recent: str | list[str] = ""
    pending: list[Position] = []
    archived: str = ""
    file: Position | None = None


class _Named(msgspec.Struct):
    uri: str


def dump(places: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Write places, each by its URI's name, as state holds them."""
    return [{"uri": name, **place} for name, place in places.items()]


def load(state: t.Mapping[str, t.Any], shard: str) -> dict[str, Place]:
    """Read the stream's part of a Singer state: one place per URI name.

    Raises:
        StateError: it was written by another version or for another shard, or is damaged.
    """
    version = state.get("version", VERSION)
    if version not in _VERSIONS_READ:
        msg = (
            f"state has version {version}, this tap reads {VERSION} and older; start from an empty state, or reinstall"
        )
        raise StateError(msg)
    if "places" in state and state.get("shard", "") != shard:
        msg = (
            f"state belongs to shard {state.get('shard') or 'none'}, this run is shard {shard or 'none'}; "
            f"give each shard its own state, and keep shard_count"
        )
        raise StateError(msg)
    try:
        places = msgspec.convert(_by_name(state.get("places", {})), dict[str, Place])
        for place in places.values():
            _check(place)
    except (msgspec.ValidationError, ValueError, IndexError):
        msg = "state is damaged: its bookmarks are not what this tap writes; start from an empty state"
        raise StateError(msg) from None
    return places


def recent_of(place: Place) -> dict[str, Done]:
    """Read the identities of a place."""
    if isinstance(place.recent, list):
        return dict(map(identities.decoded_first_version, place.recent))
    found = dict(identities.decoded(place.passed))
    for done in found.values():
        done.passed = True
    return found | dict(identities.decoded(place.recent))


def _by_name(places: t.Any) -> t.Any:
    if not isinstance(places, list):
        return places  # of a version before the third
    return {named.uri: place for named, place in zip(msgspec.convert(places, list[_Named]), places, strict=True)}


def _check(place: Place) -> None:
    if isinstance(place.recent, list):
        recent_of(place)
    elif not (identities.is_sound(place.passed) and identities.is_sound(place.recent)):
        msg = "identities are damaged"
        raise ValueError(msg)
