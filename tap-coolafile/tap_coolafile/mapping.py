"""Mistakes in `stream_maps`: in goes what the SDK's mapper raised, out comes one sentence naming stream and property.

The SDK does not tell which property it was at, so each is tried alone. Neither expressions, which may hold a secret,
nor values of the row are told.
"""

from __future__ import annotations

import logging
import typing as t

from singer_sdk.exceptions import MapExpressionError
from singer_sdk.mapper import PluginMapper

from tap_coolafile.exceptions import SettingError

_OPERATORS = frozenset({"__source__", "__alias__", "__key_properties__", "__else__"})
# What simpleeval, which the SDK brings, raises for a word of the expression, and where it keeps that word.
_TOLD = {
    "FunctionNotDefined": ("there is no function", "func_name"),
    "NameNotDefined": ("the row has no property", "name"),
    "AttributeDoesNotExist": ("a value has no", "attr"),
}
_silent = logging.getLogger("tap_coolafile.mapping.silent")


class Mapped(t.NamedTuple):
    """What goes into the mapper: the tap's configuration, and the stream with its schema."""

    config: t.Mapping[str, t.Any]
    stream: str
    schema: dict[str, t.Any]


def mistake(error: Exception, mapped: Mapped, record: dict[str, t.Any] | None = None, place: str = "") -> SettingError:
    """Say in one sentence what is wrong with `stream_maps`.

    Args:
        error: what the mapper raised.
        mapped: what it was given.
        record: the record it was at; None if it was at the schema.
        place: where that record is from.

    Raises:
        Exception: `error` itself, if no `stream_maps` are configured.
    """
    if not mapped.config.get("stream_maps"):
        raise error
    about = f"the mapping of stream {mapped.stream!r}"
    for name, reduced in _one_by_one(mapped.config):
        try:
            _try(mapped._replace(config=reduced), record)
        except Exception as found:  # noqa: BLE001 - an expression of the user's may raise anything
            about, error = f"property {name!r} of stream {mapped.stream!r}", found
            break
    where = f" at {place}" if place else ""
    return SettingError(f"stream_maps: {about} cannot be used{where}: {_why(error)}")


def _one_by_one(config: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield configurations whose `stream_maps` holds one property each, with its name."""
    maps = config.get("stream_maps") or {}
    for key, properties in maps.items():
        if not isinstance(properties, dict):
            continue
        whence = {name: rule for name, rule in properties.items() if name in {"__source__", "__alias__"}}
        for name, rule in properties.items():
            if name not in _OPERATORS:
                yield name, {**config, "stream_maps": {key: {**whence, name: rule}}}


def _try(mapped: Mapped, record: dict[str, t.Any] | None) -> None:
    mapper = PluginMapper(plugin_config=dict(mapped.config), logger=_silent)
    mapper.register_raw_stream_schema(mapped.stream, mapped.schema, ())
    for stream_map in mapper.stream_maps[mapped.stream] if record is not None else ():
        stream_map.transform(dict(record or {}))


def _why(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, MapExpressionError) and error.__cause__ is not None else error
    kind = type(cause).__name__
    if kind in _TOLD:
        words, attribute = _TOLD[kind]
        return f"{words} {getattr(cause, attribute)!r}"
    return "this is no expression of Python" if kind == "SyntaxError" else kind
