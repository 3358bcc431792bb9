"""Queries over stored events, over HTTP: what they answer, and that they can do nothing else."""

from __future__ import annotations

import typing as t
from urllib.parse import quote

import pytest

from tests.sandbox.examples import TIME_MS, event
from tests.sandbox_server import SandboxServer

if t.TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A sandbox with six valid events and an invalid one."""
    with SandboxServer(tmp_path_factory.mktemp("cql") / "sandbox.db") as server:
        server.track(
            [
                event(event_name="login", user_id="a", City="Bonn", age=20, session_id="s1"),
                event(event_name="Login", user_id="b", CITY="Köln", age=30, event_timestamp_epoch=TIME_MS + SECOND),
                event(event_name="pay", user_id="a", **{"{u}city": "Bonn"}, amount=2.5, status="paid", text="t"),
                event(event_name="pay", user_id="a", city="bonn", amount=1, note="it's"),
                event(event_name="pay", user_id="c", city="", amount=4),
                event(event_name="pay", user_id="d", event_timestamp_epoch="2012-10-16"),
                event(event_name="pay", user_id="e", amount="invalid"),
            ]
        )
        assert server.summary()["valid"] == 6
        yield server


def rows(server: SandboxServer, query: str, **fields: str) -> list[list[t.Any]]:
    return [[cell["v"] for cell in row["c"]] for row in server.query(query, **fields)["rows"]]


ALL = "from cooladata where date_range(all)"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"select count(*) {ALL}", [[6]]),
        ("SELECT COUNT(*) FROM CoolaData WHERE DATE_RANGE(ALL);", [[6]]),
        (f"select count(city) {ALL}", [[4]]),
        ("select count(*) from cooladata where date_range(between 2012-10-15 and 2012-10-15)", [[5]]),
        ("select count(*) from cooladata where date_range(last 7 days)", [[0]]),
        ("select count(*) from cooladata where date_range(yesterday) or 1 = 1", [[6]]),
        ("select count(*) from cooladata where not date_range(yesterday)", [[6]]),
        (f"select event_name, count(*) as n {ALL} group by event_name order by n", [["login", 2], ["pay", 4]]),
        (f"select event_name, count(*) n {ALL} group by 1 having count(*) > 2", [["pay", 4]]),
        (f"select count(distinct customer_user_id) {ALL}", [[4]]),
        (
            f"select sum(age), city {ALL} and age is not null group by city order by city desc",
            [[30, "Köln"], [20, "Bonn"]],
        ),
        (f"select city {ALL} and city like 'B%'", [["Bonn"], ["Bonn"]]),
        (f"select distinct city c {ALL} and lower(city) = 'bonn' order by c", [["Bonn"], ["bonn"]]),
        (f"select max(amount), min(amount), avg(amount) {ALL}", [[4, 1, 2.5]]),
        (f"select amount * 2 + 1, amount / 2 {ALL} and amount in (1, 3)", [[3, 0.5]]),
        (f"select note {ALL} and note = 'it\\'s'", [["it's"]]),
        ("select avg(x.age) from cooladata x where date_range(all) and x.age between 1 and 99", [[25.0]]),
        (f"select customer_session_id {ALL} and age = 20", [["s1"]]),
        (f"select coalesce(note, 'none') {ALL} and amount > 2", [["none"]] * 2),
        (f"select event_name {ALL} order by event_time_ts desc limit 1", [["pay"]]),
        (f"select customer_user_id {ALL} order by 1 limit 2 offset 3", [["b"], ["c"]]),
        (f"select age as text, count(*) {ALL} group by text order by text limit 1 offset 1", [[20, 1]]),
        (f"select max(city) as city {ALL} group by city order by city limit 1 offset 1", [["Bonn"]]),
        (f"select count(*) {ALL} and event_time_ts >= '2012-10-15 04:06:31'", [[2]]),
        (f"select status, text {ALL} and status = 'paid'", [["paid", "t"]]),
        (f"select 'x', -1, event_name {ALL} and age = 20", [["x", -1, "login"]]),
    ],
    ids=lambda value: value[:90] if isinstance(value, str) else "",
)
def test_a_query_is_answered(server: SandboxServer, query: str, expected: list[list[t.Any]]) -> None:
    assert rows(server, query) == expected


def test_an_answer_has_labels_and_types(server: SandboxServer) -> None:
    query = f"select event_time_ts, city, age, amount a, count(*), sum(age) {ALL} and amount = 2.5"
    columns = [(c["label"], c["type"]) for c in server.query(query)["cols"]]
    assert columns == [
        ("event_time_ts", "timestamp"),
        ("city", "string"),
        ("age", "string"),  # no value to tell
        ("a", "float"),
        ("f0_", "integer"),
        ("f1_", "string"),
    ]


def test_a_star_has_every_column_under_its_stored_name(server: SandboxServer) -> None:
    table = server.query("select * from cooladata where date_range(all) and age = 20")
    (row,) = ([cell["v"] for cell in row["c"]] for row in table["rows"])
    assert list(zip([c["label"] for c in table["cols"]], row, strict=True)) == [
        ("event_name", "login"),
        ("customer_user_id", "a"),
        ("event_time_ts", "2012-10-15 04:06:30"),
        ("customer_session_id", "s1"),
        ("age", 20),
        ("amount", None),
        ("city", "Bonn"),
        ("note", None),
        ("status", None),
        ("text", None),
    ]


def test_a_star_has_at_most_1000_rows(shared: SandboxServer) -> None:
    for _ in range(4):
        shared.track([event()] * 300)
    assert len(rows(shared, "select * from cooladata where date_range(all)")) == 1000
    assert len(rows(shared, "select * from cooladata where date_range(all) limit 5")) == 5
    assert len(rows(shared, "select event_name from cooladata where date_range(all)")) == 1200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_query_is_decoded_once(server: SandboxServer, method: str) -> None:
    query = f"select amount + 1, '%41+' {ALL} and amount = 1 and note like 'it%'"
    if method == "POST":
        assert rows(server, query) == [[2, "%41+"]]
    else:
        answer = server.get(f"/api/v2/projects/1/cql?tq={quote(query)}", Authorization="Token x")
        assert answer.json()["table"]["rows"] == [{"c": [{"v": 2}, {"v": "%41+"}]}]


def test_times_come_as_text_or_as_sent(server: SandboxServer) -> None:
    path = "/api/v2/projects/1/cql/?tq=select max(event_time_ts) m from cooladata where date_range(all)"
    as_text = server.get(path, Authorization="Token x").json()["table"]
    as_sent = server.get(path, Authorization="Token x", TIMESTAMP="").json()["table"]
    assert as_text == {"cols": [{"label": "m", "type": "timestamp"}], "rows": [{"c": [{"v": "2012-10-16 00:00:00"}]}]}
    assert as_sent["rows"] == [{"c": [{"v": 1350345600000}]}]


def test_an_answer_can_come_as_csv(server: SandboxServer) -> None:
    query = "select city, age from cooladata where date_range(all) and age > 1 order by age"
    answer = server.ask(query, tqx="out:csv;filename:x", noCache="true")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.text.splitlines() == ["city,age", "Bonn,20", "Köln,30"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "tq"),
        ("select", "only table"),
        ("select count(*)", "only table"),
        ("select count(*) from", "not understood"),
        ("select count(*) from cooladata", "needs date_range"),
        ("select count(*) from cooladata where city = 'date_range(all)'", "needs date_range"),
        ("select date_range(all) from cooladata where date_range(all)", "belongs into the where"),
        ("select count(*) from cooladata where date_range(fortnight)", "date_range is one of"),
        ("select count(*) from cooladata where date_range('all')", "words, not strings"),
        ("select count(*) from cooladata where date_range(all'); drop table events; --)", "not understood"),
        ('select count(*) from cooladata where date_range("all"); drop table events', "words, not strings"),
        ("select count(*) from events where date_range(all)", "only table"),
        ("select count(*) from main.cooladata where date_range(all)", "only table"),
        ("select count(*) from sqlite_master where date_range(all)", "only table"),
        ("select user_id from cooladata where date_range(all)", "that is customer_user_id"),
        ("select nothing from cooladata where date_range(all)", "no column nothing"),
        ("select comment from cooladata where date_range(all)", "no column comment"),
        ("select reason from cooladata where date_range(all)", "no column reason"),
        ("select rowid from cooladata where date_range(all)", "no column rowid"),
        ("select x.age from cooladata where date_range(all)", "no table x"),
        ("select load_extension('x') from cooladata where date_range(all)", "not supported: load_extension"),
        ("select json_extract(text, '$') from cooladata where date_range(all)", "not supported"),
        ("select count(*) from cooladata where date_range(all); drop table events", "one select"),
        ("drop table events", "one select"),
        ("pragma journal_mode", "one select"),
        ("attach 'x' as y", "not understood"),
        ("with x as (select 1) select * from x where date_range(all)", "not supported"),
        ("select count(*) from cooladata where date_range(all) union all select 1", "one select"),
        ("select age from cooladata where date_range(all) and age in (select 1)", "not supported"),
        ("select (select 1) from cooladata where date_range(all)", "not supported"),
        ("select a.age from cooladata a, cooladata b where date_range(all)", "not supported"),
        ("select count(*) over () from cooladata where date_range(all)", "not supported: window"),
        ("select case when 1 then 2 end from cooladata where date_range(all)", "not supported: case"),
        ("select min(age, 3) from cooladata where date_range(all)", "not supported: min of several"),
        ("select age from cooladata where date_range(all) and age = @x", "not supported"),
        ("select age from cooladata where date_range(all) and age = ?", "not supported"),
        ("select age from cooladata where date_range(all) group by rollup(age)", "not supported"),
        ("select age from cooladata where date_range(all) limit 1 + 1", "limit takes a whole number"),
        ("select age from cooladata where date_range(all) limit 99999999999999999999", "limit takes a whole number"),
        ("select distinct on (age) age from cooladata where date_range(all)", "not supported: distinct on"),
        ("select count(distinct age, city) from cooladata where date_range(all)", "the query failed"),
        ("select " + "(" * 5000 + "age" + ")" * 5000 + " from cooladata where date_range(all)", "not understood"),
        ("select age from cooladata where date_range(all) and city = 'x\x00y'", "null character"),
    ],
    ids=lambda value: value[:70],
)
def test_anything_else_is_refused_in_words(server: SandboxServer, query: str, words: str) -> None:
    answer = server.ask(query)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert server.summary()["events"] == 7


@pytest.mark.parametrize("value", ["x' or '1'='1", 'x" or 1', "x\\' or 1=1 --", "x'; drop table events; --"])
def test_a_value_stays_a_value(server: SandboxServer, value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    assert rows(server, f"select count(*) from cooladata where date_range(all) and city = '{quoted}'") == [[0]]  # noqa: S608 - that is the test


@pytest.mark.parametrize("token", [None, ""])
def test_a_token_is_needed(server: SandboxServer, token: str | None) -> None:
    assert server.ask("select count(*) from cooladata where date_range(all)", token=token).status_code == 401


def test_only_known_tokens_are_taken_once_some_are_known(start_sandbox: t.Callable[..., SandboxServer]) -> None:
    server = start_sandbox("--api-token", "one", "--api-token", "two")
    query = "select count(*) from cooladata where date_range(all)"
    assert [server.ask(query, token=token).status_code for token in ("one", "two", "three")] == [200, 200, 401]
