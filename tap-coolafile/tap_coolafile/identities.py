"""Identities of files done, as short as they go: there may be 20,000 of them, and state stays under 1 MB.

One is 42 characters: short hashes of path and ETag, the identity of the bytes read, and stamp, size and lines as one
number. A set of them is one text, without anything between them.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import typing as t

import msgspec

KEY = 10
_ETAG = 6
_HASHES = KEY + 2 * _ETAG
WIDTH = _HASHES + 20
_SET = re.compile(rf"(?:[\w-]{{{_HASHES}}}[A-Za-z0-9+/]{{{WIDTH - _HASHES}}})*", re.ASCII)
_STAMP_BITS, _SIZE_BITS, _LINE_BITS = 42, 46, 32
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
LATEST_MS = (1 << _STAMP_BITS) - 2
"""Stamps after this one, in the year 2109, are taken for it."""


class Done(msgspec.Struct, gc=False):
    """A file done: short hashes of its ETag and of the bytes read, its stamp, how many bytes and lines.

    `passed` tells whether the pass that goes on has left it behind, so that it will not come by it again. `text` is the
    whole identity, as state holds it.
    """

    etag: str
    head: str
    mtime_ms: int
    size: int
    lines: int
    text: str
    passed: bool = False


def key_of(path: str) -> str:
    """Return the short hash of a path."""
    return _short(path, KEY)


def etag_of(etag: str) -> str:
    """Return the short hash of an ETag."""
    return _short(etag, _ETAG)


def stamp_of(mtime_ms: int) -> int:
    """Return a stamp as identities hold it."""
    return mtime_ms if 0 <= mtime_ms <= LATEST_MS else min(max(mtime_ms, 0), LATEST_MS)


def made(key: str, etag: str, head: str, *, mtime_ms: int, size: int, lines: int) -> Done:  # noqa: PLR0913 - its parts
    """Make the identity of a file whose path and ETag have the short hashes `key` and `etag`."""
    head = head or "------"
    size, lines = min(size, (1 << _SIZE_BITS) - 1), min(lines, (1 << _LINE_BITS) - 1)
    number = (mtime_ms << _SIZE_BITS | size) << _LINE_BITS | lines
    text = f"{key}{etag}{head}{binascii.b2a_base64(number.to_bytes(15), newline=False).decode()}"
    return Done(etag, head, mtime_ms, size, lines, text)


def is_sound(text: str) -> bool:
    """Tell whether a text is a set of identities."""
    return _SET.fullmatch(text) is not None


def keys_in(text: str) -> list[str]:
    """Cut a text of keys, without anything between them."""
    return [text[begin : begin + KEY] for begin in range(0, len(text), KEY)]


def decoded(text: str) -> t.Iterator[tuple[str, Done]]:
    """Read a sound set of identities; give each with its key."""
    for begin in range(0, len(text), WIDTH):
        one = text[begin : begin + WIDTH]
        number = int.from_bytes(binascii.a2b_base64(one[_HASHES:]))
        size, lines = number >> _LINE_BITS & (1 << _SIZE_BITS) - 1, number & (1 << _LINE_BITS) - 1
        stamp = number >> _SIZE_BITS + _LINE_BITS
        yield one[:KEY], Done(one[KEY : KEY + _ETAG], one[KEY + _ETAG : _HASHES], stamp, size, lines, one)


def decoded_first_version(text: str) -> tuple[str, Done]:
    """Read one identity as the first version of state holds it.

    Raises:
        ValueError, IndexError: it is damaged.
    """
    stamp, size, lines = (int(number, 16) for number in text[23:].split("."))
    found = made(text[1:11], text[11:17], text[17:23], mtime_ms=stamp_of(stamp), size=size, lines=lines)
    found.passed = text[0] == "+"
    return text[1:11], found


def _short(text: str, length: int) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:9]
    return binascii.b2a_base64(digest, newline=False)[:length].translate(_URL_SAFE).decode()
