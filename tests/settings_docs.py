"""What the documents say of the settings, made from the declarations.

`python -m tests.settings_docs` writes it between the marks in the READMEs, `meltano.yml` and `.env.example`; a test
fails where one of them says something else.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from tap_coolafile.tap import TapCoolaFile
from target_cooladata.target import TargetCoolaData

ROOT = Path(__file__).parent.parent
PLUGINS: dict[str, t.Any] = {"tap-coolafile": TapCoolaFile, "target-cooladata": TargetCoolaData}

BEGIN = "settings of {name}, as declared in its settings.py"
END = "end of the settings of {name}"


def documents() -> t.Iterator[tuple[Path, str, str]]:
    """Each place where settings are listed: the file, the plugin, and what is to stand between the marks."""
    for name in PLUGINS:
        yield ROOT / name / "README.md", name, table(name)
        yield ROOT / "meltano.yml", name, meltano(name)
        yield ROOT / ".env.example", name, environment(name)


def section(text: str, name: str) -> tuple[str, str, str]:
    """Split a document around what stands between the marks.

    Raises:
        ValueError: the marks are missing.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    start = text.index("\n", text.index(begin)) + 1
    stop = text.rindex("\n", 0, text.index(end)) + 1
    return text[:start], text[start:stop], text[stop:]


def declared(name: str) -> dict[str, dict[str, t.Any]]:
    """The settings of a plugin, those of the SDK that it takes among them."""
    plugin = PLUGINS[name]
    plugin.append_builtin_config(plugin.config_jsonschema)
    return t.cast("dict[str, dict[str, t.Any]]", plugin.config_jsonschema["properties"])


def table(name: str) -> str:
    """The settings as a table in Markdown."""
    rows = ["", "| setting | default | what it does |", "| --- | --- | --- |"]
    for setting, schema in declared(name).items():
        default = f"`{json.dumps(schema['default']).strip(chr(34))}`" if "default" in schema else ""
        text = " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")
        choices = [value for value in schema.get("enum", ()) if value is not None]
        if choices:
            text += " One of " + ", ".join(f"`{value}`" for value in choices) + "."
        rows.append(f"| `{setting}` | {default} | {text} |")
    return "\n".join(rows) + "\n\n"


def meltano(name: str) -> str:
    """The settings as Meltano declares them: kind, and what is a secret."""
    lines = []
    for setting, schema in declared(name).items():
        lines.append(f"    - name: {setting}")
        kind = _kind(schema)
        if kind:
            lines.append(f"      kind: {kind}")
        if kind == "options":
            lines.append("      options:")
            lines += [f"      - {{label: {value}, value: {value}}}" for value in schema["enum"] if value is not None]
        if schema.get("secret"):
            lines.append("      sensitive: true")
    return "\n".join(lines) + "\n"


def environment(name: str) -> str:
    """The settings as environment variables, with their defaults, all commented out."""
    prefix = name.upper().replace("-", "_")
    lines = []
    for setting, schema in declared(name).items():
        default = schema.get("default", "")
        value = default if isinstance(default, str) else json.dumps(default)
        lines.append(f"# {prefix}_{setting.upper()}={value}")
    return "\n".join(lines) + "\n"


def _kind(schema: dict[str, t.Any]) -> str | None:
    """A kind of Meltano's; none where a setting takes several types, because Meltano's kinds take one."""
    if "enum" in schema:
        return "options"
    kinds = [kind for kind in _types(schema) if kind != "null"]
    if schema.get("format") == "date-time":
        return "date_iso8601"
    if schema.get("secret") and kinds == ["string"]:
        return "password"
    return kinds[0] if len(kinds) == 1 and kinds[0] in {"string", "integer", "boolean", "object"} else None


def _types(schema: dict[str, t.Any]) -> list[str]:
    parts = schema.get("anyOf") or schema.get("oneOf") or [schema]
    found: list[str] = []
    for part in parts:
        kind = part.get("type", [])
        found += [kind] if isinstance(kind, str) else kind
    return found


def main() -> None:
    """Write the settings into the documents."""
    for path, name, text in documents():
        before, _, after = section(path.read_text(), name)
        path.write_text(before + text + after)


if __name__ == "__main__":
    main()
