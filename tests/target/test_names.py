from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.names import NameBook, is_allowed, sanitize, split_scope, told_as


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
        ("größe", "gr__e_a0f6c858"),
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


@given(
    st.lists(
        st.text(max_size=6) | st.sampled_from(["a.b", "a b", "a-b", "עיר", "שם", "größe", "2a", "_2a"]), unique=True
    )
)
def test_no_two_names_that_were_mended_share_one(found: list[str]) -> None:
    book = NameBook()
    sent = {name: book.sent(name, name) for name in found}
    assert all(is_allowed(name) for name in sent.values())
    assert sent == {name: book.sent(name, name) for name in found}
    mended = [name.lower() for name in book.told.values()]
    assert len(set(mended)) == len(mended)
    own = {name.lower() for name in found if is_allowed(name)}
    assert {name.lower() for name in book.shared} <= own & set(mended)


def test_a_property_whose_own_name_was_given_away_before_is_reported() -> None:
    book = NameBook()
    assert book.sent("a.b", "a.b") == book.sent("a_b", "a_b") == "a_b"
    assert book.shared == {"a_b"}
    late = NameBook()
    assert (late.sent("a_b", "a_b"), late.sent("a.b", "a.b")[:4]) == ("a_b", "a_b_")
    assert late.shared == set()


def test_a_key_within_an_object_is_never_told_since_it_may_be_data() -> None:
    book = NameBook()
    name = "emails_alice@example.com"
    assert book.sent(name, told_as(name, "emails")).startswith("emails_alice_")
    assert "alice" not in str(book.told)
    assert list(book.told) == ["emails_..."]
