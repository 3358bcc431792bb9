"""Names of properties: what a key stands for, and what the schema remembers of it."""

from __future__ import annotations

import pytest

from target_cooladata.sandbox.schema import EventName, Property, Schema, Spelling, is_well_formed, split_key


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("age", ("age", "event")),
        ("Age", ("age", "event")),
        ("{u}City", ("city", "user")),
        ("{s}city", ("city", "session")),
        ("{x}city", ("{x}city", "event")),
        ("{u}{u}city", ("{u}city", "user")),
        ("", ("", "event")),
    ],
)
def test_a_key_stands_for_a_name_and_a_scope(key: str, expected: tuple[str, str]) -> None:
    assert split_key(key) == expected


@pytest.mark.parametrize("key", ["a", "A_1", "{u}a", "{s}Abc", "user_id"])
def test_a_letter_and_letters_digits_and_underscores_are_well_formed(key: str) -> None:
    assert is_well_formed(key)


@pytest.mark.parametrize("key", ["", "_a", "1a", "a b", "a-b", "a.b", "{x}a", "{u}", "{u}{s}a", "é", "a\n", "\u212a"])
def test_anything_else_is_not(key: str) -> None:
    assert not is_well_formed(key)


def test_what_is_learned_is_known_at_once_and_unsaved_until_it_is_kept() -> None:
    name, age, spelling = EventName("login", "Login", 1), Property("age", "integer", "event", 2), Spelling("Age", "age")
    schema = Schema([name])
    schema.learn(age)
    schema.learn(spelling)
    assert (schema.event_names, schema.properties) == ({"login": name}, {"age": age})
    assert schema.names_by_key == {"Age": "age"}
    assert schema.unsaved == [age, spelling]
