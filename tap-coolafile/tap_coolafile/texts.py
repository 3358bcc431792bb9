"""Settings as users give them: in go JSON values or texts, out come values of the types that the settings declare.

Environments hand over everything as text, and so does Meltano where a setting has no kind. Refuses what is not of its
type without quoting it: it may be a secret.
"""

from __future__ import annotations

import os
import re
import typing as t

import msgspec
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_coolafile.exceptions import SettingError

ENV_PREFIX = "TAP_COOLAFILE_"


def normalise(config: t.Mapping[str, t.Any], declared: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give each value the type its setting declares, where it came as text.

    The environment, and Meltano for a setting without a kind, hand over everything as text. An empty text means
    "not set". `uris` may be one URI, an array, or a JSON array inside a string.

    Raises:
        SettingError: a text is not of the type its setting declares.
    """
    result = {}
    for name, value in config.items():
        schema = declared.get(name)
        if value == "" and schema is not None:
            continue
        result[name] = _converted(name, value, schema) if schema is not None and isinstance(value, str) else value
    if isinstance(result.get("uris"), str):
        result["uris"] = _uri_list(result["uris"])
    return result


def problems(config: dict[str, t.Any], schema: dict[str, t.Any]) -> list[str]:
    """Check `config` against the JSON schema, filling in defaults; say what is wrong without quoting a value."""
    found = []
    try:
        errors = list(JSONSchemaValidator(schema).iter_errors(config))
    except AttributeError:  # the SDK's own schema of it is no schema
        return ["stream_maps has an `__else__` that cannot be used; expected null"]
    for error in errors:
        where = ".".join(str(step) for step in error.absolute_path)
        if error.validator == "required":
            found.append(f"{error.message.split(' ', 1)[0].strip(chr(39))} is required and not set")
        else:
            expected = _expected(error.schema)
            found.append(f"{where} has a value that cannot be used; {expected}")
    return found


def from_environment(schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Read every setting of `schema` that stands in the environment, as text still, for `normalise`."""
    names = {name: ENV_PREFIX + name.upper().replace("-", "_") for name in schema["properties"]}
    found = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
    # Settings that the SDK declares (stream maps, flattening) are converted by their own schema here.
    return {
        name: _converted(name, value, schema["properties"][name]) if value != "" else value
        for name, value in found.items()
    }


def _converted(name: str, value: str, schema: t.Mapping[str, t.Any]) -> t.Any:
    kinds = schema.get("type", "string")
    if "integer" in kinds:
        if not re.fullmatch(r"\s*-?[0-9]+\s*", value):
            msg = f"{name} is not a whole number; give digits only"
            raise SettingError(msg)
        return int(value)
    if "boolean" in kinds:
        truth = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if value.strip().lower() not in truth:
            msg = f"{name} is neither true nor false"
            raise SettingError(msg)
        return truth[value.strip().lower()]
    if "object" in kinds:
        try:
            return msgspec.json.decode(value, type=dict[str, t.Any])
        except msgspec.MsgspecError:
            msg = f"{name} is not a JSON object"
            raise SettingError(msg) from None
    return value


def _expected(schema: t.Mapping[str, t.Any]) -> str:
    if "enum" in schema:
        return "it is one of " + ", ".join(str(value) for value in schema["enum"] if value is not None)
    kinds = schema.get("type", "string or array of strings")
    words = kinds if isinstance(kinds, str) else " or ".join(kind for kind in kinds if kind != "null")
    limits = [
        f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema
    ]
    return f"expected {words}" + (f", {' and '.join(limits)}" if limits else "")


def _uri_list(value: str) -> list[t.Any]:
    """Read one string as a URI, or as a JSON array of them; a glob may begin with a bracket too."""
    if value.lstrip().startswith("["):
        try:
            return msgspec.json.decode(value, type=list[str])
        except msgspec.MsgspecError:
            pass
    return [value]
