"""What a storage's answer means, whatever the storage: in go a call and an HTTP status, out comes an error."""

from __future__ import annotations

import http

import msgspec

from tap_coolafile.exceptions import BadFileError, MissingFileError, TapError


class Call(msgspec.Struct, frozen=True):
    """What was asked: `what` as its owner would grant or find it, of the bucket or container called `place`.

    `name` is the object's URI, where the call was about one, and `literal` whether `uris` names that object.
    """

    what: str
    place: str
    name: str = ""
    literal: bool = False


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
