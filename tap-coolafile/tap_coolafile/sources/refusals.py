"""What a storage's answer about one object means, whatever the storage: in goes an HTTP status, out comes an error."""

from __future__ import annotations

import http

from tap_coolafile.exceptions import BadFileError, MissingFileError, TapError


def object_refusal(status: int, name: str, *, literal: bool) -> TapError | None:
    """Explain a status that says how the object itself is; None for one that says something else.

    Args:
        status: what the server answered, such as 404.
        name: the object's URI.
        literal: whether `uris` names the object; otherwise a listing did.
    """
    if status == http.HTTPStatus.NOT_FOUND and literal:
        return MissingFileError(f"{name} does not exist; uris names it literally, so it must")
    if status == http.HTTPStatus.NOT_FOUND:
        return BadFileError(f"{name} vanished after it was listed")
    if status == http.HTTPStatus.PRECONDITION_FAILED:
        return BadFileError(f"{name} changed while it was read; the next run reads it as a changed file")
    if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return BadFileError(f"{name} is shorter than the byte it was read up to")
    return None
