from __future__ import annotations

import typing as t

from tests.singer import event, schema, state

if t.TYPE_CHECKING:
    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import RunTarget


def ids(sandbox: SandboxServer) -> list[str]:
    return [event["load_event_id"] for event in sandbox.events()]


def test_every_event_carries_the_id_of_its_run(run_target: RunTarget, sandbox: SandboxServer) -> None:
    done = run_target(schema(), event(1), event(2, flag=None), run_id_property="load_run")
    assert {event["load_run"] for event in sandbox.events("valid")} == {done.report["run_id"]}


def test_the_same_rows_from_the_same_state_have_the_same_ids_and_no_two_rows_share_one(
    run_target: RunTarget, sandbox: SandboxServer
) -> None:
    lines = [state(n=0), schema(), event(1), event(1), event(2)]
    run_target(*lines, event_id_property="load_event_id")
    run_target(*lines, event_id_property="load_event_id", batch_size_rows=2)
    found = ids(sandbox)
    assert found[:3] == found[3:]
    assert len(set(found)) == 3


def test_rows_that_say_where_they_stand_have_their_ids_whatever_the_state(
    run_target: RunTarget, sandbox: SandboxServer
) -> None:
    rows = [event(1, _sdc_source_file="a", _sdc_source_lineno=number) for number in (1, 2)]
    run_target(state(n=0), schema(), *rows, event_id_property="load_event_id")
    run_target(state(n=5), schema(), *rows[1:], event_id_property="load_event_id")
    first, second, again = ids(sandbox)
    assert first != second == again
    assert "p_sdc_source_file" not in sandbox.events()[0]


def test_a_property_of_the_record_with_that_name_is_kept_beside_it(
    run_target: RunTarget, sandbox: SandboxServer
) -> None:
    run_target(schema(), event(1, Load_Run="mine"), run_id_property="load_run")
    (stored,) = sandbox.events("valid")
    assert stored["Load_Run_2"] == "mine"
    assert stored["load_run"] != "mine"


def test_metadata_of_the_tap_is_sent_if_wanted(run_target: RunTarget, sandbox: SandboxServer) -> None:
    run_target(schema(), event(1, _sdc_source_file="a.json"), add_record_metadata=True)
    assert sandbox.events("valid")[0]["p_sdc_source_file"] == "a.json"
