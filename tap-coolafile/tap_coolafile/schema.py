"""The stream's JSON schema, which only ever widens: in go properties and kinds, out comes what SCHEMA messages say.

It starts from the three mandatory properties, or from a catalog's schema, and refuses nothing: a value that does not
fit the declared type widens the type, is remembered as a change, and warned of, because SQL targets refuse such a step.
"""

from __future__ import annotations

import copy
import typing as t

from tap_coolafile.rows import METADATA_KEYS

MANDATORY: t.Final[dict[str, dict[str, t.Any]]] = {
    "event_name": {"type": ["string"], "description": "Name of the event."},
    "user_id": {"type": ["string"], "description": "The user who did it."},
    "event_time_ts": {"type": ["integer"], "description": "When, in milliseconds since 1970 UTC."},
}
"""Every record holds these three, so they are not nullable; they are not `required`, as a user may deselect them."""

_METADATA: t.Final[dict[str, dict[str, t.Any]]] = dict(
    zip(
        METADATA_KEYS,
        (
            {"type": ["string", "null"], "description": "File the row was read from."},
            {"type": ["integer", "null"], "description": "Line of the row in its file, from 1."},
            {"type": ["string", "null"], "format": "date-time", "description": "When the file was last modified."},
        ),
        strict=True,
    )
)


class StreamSchema:
    """The properties known so far and their JSON schemas.

    `unannounced` tells whether the schema widened since it was last written. `changes` names each property whose
    type had to widen, with what it is now, such as `{"qty": "number, string"}`.
    """

    def __init__(self, *, property_types: t.Mapping[str, str], metadata_columns: bool) -> None:
        self._properties: dict[str, dict[str, t.Any]] = copy.deepcopy(MANDATORY)
        if metadata_columns:
            self._properties.update(copy.deepcopy(_METADATA))
        self._typed = {name: {"type": [kind, "null"]} for name, kind in property_types.items()}
        self._properties.update(copy.deepcopy(self._typed))
        self.unannounced = False
        self.changes: dict[str, str] = {}

    @property
    def names(self) -> t.KeysView[str]:
        """The names of all known properties."""
        return self._properties.keys()

    def to_dict(self) -> dict[str, t.Any]:
        """Return the schema as a new JSON schema object, which the caller may change."""
        return {"type": "object", "properties": copy.deepcopy(self._properties)}

    def adopt(self, schema: t.Mapping[str, t.Any]) -> None:
        """Take over the properties of a catalog's schema, as its user left them, before anything else is learned."""
        for name, declared in schema.get("properties", {}).items():
            if name not in MANDATORY:
                self._properties[name] = copy.deepcopy(dict(declared))

    def retyped(self, schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return a catalog's schema with the types of `property_types`, which may be newer than the catalog."""
        properties = schema.get("properties", {})
        typed = {name: copy.deepcopy(self._typed[name]) for name in properties if name in self._typed}
        return {**schema, "properties": {**properties, **typed}}

    def learn(self, name: str, kind: str) -> str | None:
        """Widen for a value of `kind` (`string`, `integer`, `number`, `boolean`) in the property `name`.

        Integers are declared `number`: SQL targets cannot widen a column from integer, and one stores 1.5 as 2.

        Returns:
            A sentence when the property had another type before, else None.
        """
        declared = self._properties.get(name)
        wide = "number" if kind == "integer" else kind
        if declared is None:
            self._properties[name] = {"type": [wide, "null"]}
            self.unannounced = True
            return None
        types = declared.get("type")
        types = [types] if isinstance(types, str) else types
        if types is None or kind in types or wide in types:
            return None
        before = [word for word in types if word != "null"]
        declared["type"] = [*before, wide, *(["null"] if "null" in types else [])]
        self.unannounced = True
        self.changes[name] = ", ".join([*before, wide])
        return (
            f"property {name!r} changed its type from {' or '.join(before)} to {wide}, which SQL targets refuse; "
            f"declare it by property_types"
        )
