"""Paths as text: in go paths as the operating system has them, out comes text that JSON can carry, and URIs for people.

Names of files are bytes and need not be UTF-8, while state, rejects and records must be. A byte that is not part of
UTF-8 becomes a character of its own, U+EF80 to U+EFFF, and so do the bytes of these characters themselves, so that no
two paths become the same text. In a URI such a path is percent-encoded, as URIs of files are. Any other path is its
own text.
"""

from __future__ import annotations

import os
import re
import urllib.parse

_FIRST = 0xEF00
_UNFIT = re.compile("[\udc80-\udcff\uef80-\uefff]")
_BYTES = re.compile("[\uef80-\uefff]+")


def text_of(path: str) -> str:
    """Return the text of a path as Python has it, whose bytes that are not UTF-8 are surrogates."""
    if path.isascii():
        return path
    return _UNFIT.sub(lambda found: "".join(chr(_FIRST + byte) for byte in os.fsencode(found[0])), path)


def path_of(text: str) -> str:
    """Return the path, as Python opens it, whose text this is."""
    if text.isascii():
        return text
    return _BYTES.sub(lambda found: os.fsdecode(bytes(ord(character) - _FIRST for character in found[0])), text)


def encoded(text: str) -> str:
    """Return the text of a path as it stands behind `scheme://host` where people read it."""
    return urllib.parse.quote(os.fsencode(path_of(text))) if _BYTES.search(text) else text


def decoded(path: str) -> str:
    """Return the text of the path that a URI spells percent-encoded."""
    return text_of(urllib.parse.unquote(path, errors="surrogateescape"))
