"""How a catalog asks for everything again: in goes a catalog as users write it, out comes one that the SDK understands.

Users, and Meltano's `metadata` extra, say it by `replication-method` in a stream's metadata, which the SDK overlooks.
Refuses methods other than INCREMENTAL and FULL_TABLE.
"""

from __future__ import annotations

import typing as t

from tap_coolafile.exceptions import SettingError

METHODS = ("INCREMENTAL", "FULL_TABLE")


def with_replication_methods(catalog: t.Any) -> t.Any:
    """Write each stream's `replication-method` metadata where the SDK looks for it.

    Raises:
        SettingError: a method is not one of `METHODS`.
    """
    if not isinstance(catalog, dict):
        return catalog
    return catalog | {"streams": [_with_method(stream) for stream in catalog.get("streams", [])]}


def _with_method(stream: dict[str, t.Any]) -> dict[str, t.Any]:
    roots = (entry["metadata"] for entry in stream.get("metadata", []) if not entry.get("breadcrumb"))
    root: dict[str, t.Any] = next(roots, {})
    method = root.get("replication-method") or stream.get("replication_method") or root.get("forced-replication-method")
    if method is None:
        return stream
    if method not in METHODS:
        msg = f"the catalog's replication-method {method!r} is not possible here; {' or '.join(METHODS)} is expected"
        raise SettingError(msg)
    return stream | {"replication_method": method}
