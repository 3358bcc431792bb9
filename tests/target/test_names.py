from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.names import is_allowed, sanitize, split_scope


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("referals", "referals"),
        ("Qty2", "Qty2"),
        ("a.b", "a_b"),
        ("a-b c", "a_b_c"),
        ("2nd", "p_2nd"),
        ("_id", "p_id"),
        ("", "p_"),
        ("größe", "gr__e"),
        ("uid", "uid_"),
        ("SELECT", "SELECT_"),
        ("event_timestamp", "event_timestamp_"),
    ],
)
def test_a_name_is_mended(name: str, sent: str) -> None:
    assert sanitize(name) == sent


@given(st.text(max_size=40))
def test_every_mended_name_is_allowed_and_stays(name: str) -> None:
    assert is_allowed(sanitize(name))
    assert sanitize(sanitize(name)) == sanitize(name)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("{u}city", ("{u}", "city")), ("{s}x", ("{s}", "x")), ("{x}y", ("", "{x}y")), ("city", ("", "city"))],
)
def test_a_scope_prefix_is_told_apart(name: str, parts: tuple[str, str]) -> None:
    assert split_scope(name) == parts
