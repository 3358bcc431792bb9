"""The command line, as a user or Meltano calls it: what it prints, what it exits with, how it takes its settings."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import typing as t

import pytest

from tap_coolafile.places import VERSION
from tap_coolafile.settings import CONFIG_SCHEMA
from tests.tap.conftest import SEED_ROWS, TAP, Run, WebServer, Workplace, event

if t.TYPE_CHECKING:
    from tests.s3_server import S3Server


def test_the_seed_rows_arrive_as_four_records(place: Workplace) -> None:
    place.write("seed.json", *SEED_ROWS)
    run = place.run()
    assert run.code == 0
    assert [record["event_time_ts"] for record in run.records] == [
        1350273990000,
        1350273995000,
        1350274000000,
        1350274005000,
    ]
    assert all("ip" not in record and record["referals"] == "2" and record["age"] == 21 for record in run.records)
    assert run.properties["referals"]["type"] == ["string", "null"]
    assert run.properties["age"]["type"] == ["number", "null"]
    assert run.report["rows_sent"] == 4
    assert run.report["bytes_read"] == sum(len(row) + 1 for row in SEED_ROWS)


def test_the_first_message_is_a_state_also_on_a_first_run(place: Workplace) -> None:
    place.write("a.json", event())
    assert place.run().messages[0] == {"type": "STATE", "value": {"bookmarks": {"events": {"version": VERSION}}}}


def test_a_second_run_reads_nothing_and_a_new_file_alone_is_read(place: Workplace) -> None:
    place.write("a.json", event(1))
    first = place.run()
    second = place.run(state=first.state)
    assert (second.code, second.records) == (0, [])
    place.write("b.json", event(2))
    assert place.run(state=second.state).users == ["u2"]


def test_ten_broken_rows_in_a_thousand_are_quarantined_and_the_rest_delivered(place: Workplace) -> None:
    good = [event(number) for number in range(1000)]
    broken = {
        17: "{",
        100: "[]",
        101: '{"a":{}}',
        333: '{"user_id":"u","event_time_ts":1425920218354}',
        400: '{"event_name":"e","event_time_ts":1425920218354}',
        401: '{"event_name":"e","user_id":"u"}',
        402: '{"event_name":"e","user_id":"u","event_time_ts":1425920218}',
        700: '{"event_name":"e","user_id":"u","event_time_ts":"soon"}',
        800: '{"event_name":"e","event_name":"e","user_id":"u","event_time_ts":1425920218354}',
        999: '{"event_name":"é","user_id":"u","event_time_ts":1425920218354,"n":1e400}',
    }
    lines = [broken.get(number, row) for number, row in enumerate(good)]
    path = place.write("a.json", *lines)
    run = place.run()
    assert run.code == 0
    assert run.users == [f"u{number}" for number in range(1000) if number not in broken]
    content = path.read_bytes()
    for reject, (number, row) in zip(place.rejects(), broken.items(), strict=True):
        assert reject["line"] == number + 1
        assert reject["row"] == row
        assert content[reject["offset"] :].startswith(row.encode() + b"\n")
        assert reject["source"] == f"file://{path}"
        assert reject["reason"]
        assert reject["detail"]
    report = run.report
    assert report["rows_read"] == 1000
    assert report["rows_sent"] + report["rows_rejected"] + report["rows_blank"] + report["rows_filtered"] == 1000
    assert report["rows_rejected"] == 10


def test_a_good_run_never_says_the_words_that_meltano_takes_for_failure(place: Workplace) -> None:
    place.write("a.json", event(), "{broken")
    log = place.run(env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"}).log.lower()
    assert "error" not in log
    assert "exception" not in log


def test_no_event_content_appears_in_the_log_at_any_level(place: Workplace) -> None:
    place.write("a.json", event(1, note="sesame"), '{"event_name":"sesame"', event(2, note=5))
    run = place.run(env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"})
    assert run.code == 0
    assert "sesame" not in run.log


def test_a_failing_stream_map_does_not_print_the_event(place: Workplace) -> None:
    place.write("a.json", event(1, note="sesame"))
    run = place.run(stream_maps={"events": {"n": "int(note)"}}, env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"})
    assert run.code == 1
    assert "sesame" not in run.log


def test_discovery_prints_a_catalog_of_what_the_files_hold(place: Workplace) -> None:
    place.write("a.json", *SEED_ROWS)
    run = place.run("--discover")
    (stream,) = json.loads(run.text)["streams"]
    assert stream["tap_stream_id"] == "events"
    assert stream["replication_method"] == "INCREMENTAL"
    assert stream["key_properties"] == []
    assert set(stream["schema"]["properties"]) >= {"event_name", "user_id", "event_time_ts", "currency", "rank"}
    assert run.code == 0


def test_the_connection_test_prints_one_record(place: Workplace) -> None:
    place.write("a.json", *SEED_ROWS)
    run = place.run("--test")
    assert run.code == 0
    assert len(run.records) == 1


def test_the_connection_test_of_a_missing_file_fails_in_one_line(place: Workplace) -> None:
    run = place.run("--test", uris="nowhere.json")
    assert run.code == 1
    (line,) = run.complaints
    assert "nowhere.json does not exist" in line


def test_the_schema_test_prints_a_schema(place: Workplace) -> None:
    place.write("a.json", *SEED_ROWS)
    run = place.run("--test=schema")
    assert run.code == 0
    assert "referals" in run.properties


@pytest.mark.parametrize("style", [[], ["--format", "json"], ["--format", "markdown"]])
def test_about_names_every_setting(style: list[str]) -> None:
    done = subprocess.run([TAP, "--about", *style], capture_output=True, text=True, check=True)
    for name in CONFIG_SCHEMA["properties"]:
        assert name in done.stdout


def test_the_version_is_printed() -> None:
    done = subprocess.run([TAP, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tap-coolafile v")


def test_settings_are_taken_from_the_environment(place: Workplace) -> None:
    place.write("a.json", event(1), event(2, ip=""))
    place.write("b.json", event(3))
    env = os.environ | {
        "TAP_COOLAFILE_URIS": json.dumps([f"{place.data}/a.json", f"{place.data}/b.json"]),
        "TAP_COOLAFILE_STATE_INTERVAL_ROWS": "1",
        "TAP_COOLAFILE_EMPTY_AS_NULL": "false",
        "TAP_COOLAFILE_PROPERTY_TYPES": '{"ip": "string"}',
        "TAP_COOLAFILE_REJECTS_PATH": str(place.folder / "rejects"),
        "TAP_COOLAFILE_SHARD_COUNT": "",
    }
    done = subprocess.run([TAP, "--config=ENV"], capture_output=True, check=False, env=env, cwd=place.folder)
    run = Run(done.stdout, done.stderr.decode(), done.returncode)
    assert run.code == 0, run.log
    assert run.users == ["u1", "u2", "u3"]
    assert run.records[1]["ip"] == ""
    assert len(run.of("STATE")) >= 3


def test_a_setting_of_the_wrong_type_is_named_without_its_value(place: Workplace) -> None:
    run = place.run(max_row_bytes="many", aws_profile="geheim")
    assert run.code == 1
    assert "max_row_bytes is not a whole number" in run.log
    assert "geheim" not in run.log


def test_a_first_run_that_matches_nothing_fails_with_words_and_a_later_one_does_not(place: Workplace) -> None:
    empty = place.run()
    assert empty.code == 1
    (line,) = empty.complaints
    assert "nothing matches" in line
    path = place.write("a.json", event())
    state = place.run().state
    path.unlink()
    later = place.run(state=state)
    assert (later.code, later.records) == (0, [])


def test_a_literal_file_that_is_missing_fails_in_one_line(place: Workplace) -> None:
    run = place.run(uris=f"{place.data}/none.json")
    assert run.code == 1
    (line,) = run.complaints
    assert "none.json does not exist" in line


@pytest.mark.parametrize("name", ["a.txt", "csv.json", "myCSVs.json", "a.json.gz"])
def test_a_literal_file_with_the_wrong_name_is_refused_by_the_rule(place: Workplace, name: str) -> None:
    path = place.write(name, event())
    run = place.run(uris=str(path))
    assert run.code == 1
    (line,) = run.complaints
    assert "must end in .json and not contain csv" in line


def test_a_wrong_name_met_through_a_prefix_is_skipped_counted_and_logged_once(place: Workplace) -> None:
    for name in ("a.JSON", "csv1.json", "csv2.json", "notes.txt"):
        place.write(name, event())
    run = place.run()
    assert run.code == 0
    assert len(run.records) == 1
    assert run.report["files_refused_by_name"] == 3
    assert run.log.count("Passing over") == 1


def test_relative_paths_are_relative_to_the_working_directory(place: Workplace) -> None:
    place.write("a.json", event())
    assert place.run(uris="data/").users == ["u0"]


def test_on_invalid_row_fail_stops_with_the_place_of_the_row(place: Workplace) -> None:
    place.write("a.json", event(1), '{"sesame"', event(2))
    run = place.run(on_invalid_row="fail")
    assert run.code == 1
    (line,) = run.complaints
    assert "a.json line 2 (byte " in line
    assert "sesame" not in line


def test_on_invalid_row_skip_counts_and_keeps_nothing(place: Workplace) -> None:
    place.write("a.json", event(1), "{broken", event(2))
    run = place.run(on_invalid_row="skip")
    assert run.code == 0
    assert run.users == ["u1", "u2"]
    assert run.report["rejected_by_reason"] == {"not_json": 1}
    assert place.rejects() == []


def test_the_report_is_written_to_its_path(place: Workplace) -> None:
    place.write("a.json", event())
    run = place.run(report_path="out/report.json")
    assert json.loads((place.folder / "out" / "report.json").read_text()) == run.report


def test_a_reader_that_goes_away_ends_the_run_in_one_line(place: Workplace) -> None:
    place.write("a.json", *(event(number) for number in range(50_000)))
    command = place.command()
    tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder)
    assert tap.stdout is not None
    assert tap.stderr is not None
    tap.stdout.readline()
    tap.stdout.close()
    log = tap.stderr.read().decode()
    tap.stderr.close()
    assert tap.wait(30) == 1
    assert len(Run(b"", log).complaints) == 1
    assert "Traceback" not in log


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="only Linux has pipes of any size")
def test_a_reader_may_be_a_megabyte_behind(place: Workplace) -> None:
    """With the usual 64 KiB, `meltano run` takes a third as long again."""
    place.write("a.json", event())
    with subprocess.Popen(place.command(), stdout=subprocess.PIPE, cwd=place.folder) as tap:
        assert tap.stdout is not None
        tap.stdout.readline()
        assert fcntl.fcntl(tap.stdout, fcntl.F_GETPIPE_SZ) == 1 << 20
        tap.stdout.read()
    assert tap.returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_order_with_a_state_that_is_never_ahead(
    place: Workplace, signum: signal.Signals, code: int, unbuffered: str
) -> None:
    total = 20_000
    place.write("a.json", *(event(number) for number in range(total)))
    tap = subprocess.Popen(
        place.command(state_interval_rows=1000),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=place.folder,
        bufsize=0,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    assert tap.stdout is not None
    # The pipe is full until it is read, so the signals find the run at work.
    start = tap.stdout.readline() + tap.stdout.readline()
    tap.send_signal(signum)
    tap.send_signal(signal.SIGTERM)
    output, log = tap.communicate(timeout=30)
    assert tap.returncode == code, log.decode()
    first = Run(start + output)
    assert 0 < len(first.records) < total
    assert first.messages[-1]["type"] == "STATE"
    rest = place.run(state=first.state)
    assert first.users + rest.users == [f"u{number}" for number in range(total)]


class TestS3:
    """A private bucket on a server that checks signatures, and a public one."""

    @pytest.fixture
    def bucket(self, s3: S3Server, request: pytest.FixtureRequest) -> str:
        name = "b" + format(abs(hash(request.node.nodeid)), "x")
        return s3.bucket(name, {"in/a.json": "\n".join(SEED_ROWS).encode()})

    @staticmethod
    def settings(s3: S3Server, **more: t.Any) -> dict[str, t.Any]:
        return {"aws_endpoint_url": s3.endpoint_url, **more}

    def test_loads_with_the_right_keys(self, place: Workplace, s3: S3Server, bucket: str) -> None:
        for uris in (f"s3://{bucket}/in/", f"s3://{bucket}/in/*.json", f"s3://{bucket}/in/a.json"):
            run = place.run(uris=uris, **self.settings(s3, **s3.admin.settings()))
            assert (run.code, len(run.records)) == (0, 4), run.log

    @pytest.mark.parametrize(
        ("keys", "uri"),
        [
            ("secret", "in/"),
            ("secret", "in/a.json"),
            ("unknown", "in/"),
            ("none", "in/"),
            ("anonymous", "in/a.json"),
            ("no_rights", "in/"),
        ],
    )
    def test_a_refusal_is_one_line_with_bucket_call_and_settings(
        self, place: Workplace, s3: S3Server, bucket: str, keys: str, uri: str
    ) -> None:
        nobody = [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
        cases: dict[str, t.Callable[[], dict[str, t.Any]]] = {
            "secret": lambda: {"aws_access_key_id": s3.admin.access, "aws_secret_access_key": "wrong"},
            "unknown": lambda: {"aws_access_key_id": "AKIAUNKNOWN", "aws_secret_access_key": "wrong"},
            "none": dict,
            "anonymous": lambda: {"aws_anonymous": True},
            "no_rights": lambda: s3.user("nobody", nobody).settings(),
        }
        given = cases[keys]()
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(place.folder), "TAP_COOLAFILE_LOGLEVEL": "DEBUG"}
        run = place.run(uris=f"s3://{bucket}/{uri}", env=env, **self.settings(s3, **given))
        assert run.code == 1
        (line,) = run.complaints
        assert bucket in line
        assert ("ListBucket" if uri.endswith("/") else "HeadObject") in line
        assert "aws_anonymous" in line or "aws_access_key_id" in line
        assert "Traceback" not in run.log
        for secret in ("wrong", s3.admin.secret, "Signature="):
            assert secret not in run.log

    def test_a_public_object_is_read_without_keys(self, place: Workplace, s3: S3Server) -> None:
        s3.bucket("everyones", {"a.json": event().encode()}, public=True)
        run = place.run(uris="s3://everyones/a.json", **self.settings(s3, aws_anonymous=True))
        assert (run.code, run.users) == (0, ["u0"])

    def test_a_role_is_assumed_before_any_other_call(self, place: Workplace, s3: S3Server, bucket: str) -> None:
        iam = s3.client("iam")
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"sts:ExternalId": "ours"}},
                }
            ],
        }
        arn = iam.create_role(RoleName="loader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_role_policy(RoleName="loader", PolicyName="read", PolicyDocument=json.dumps(allowed))
        own = s3.user("pipeline", [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}])
        before = len(s3.requests())
        settings = self.settings(s3, aws_role_arn=arn, aws_external_id="ours", **own.settings())
        run = place.run(uris=f"s3://{bucket}/in/", **settings)
        assert (run.code, len(run.records)) == (0, 4), run.log
        calls = s3.requests()[before:]
        assert calls[0].startswith("POST / ")
        assert calls[0].endswith(own.access)
        assert all(not call.endswith(own.access) for call in calls[1:])


def test_a_file_behind_http_is_read_by_its_uri_alone(place: Workplace, web: WebServer) -> None:
    web.files["/events.json"] = "\n".join(SEED_ROWS).encode()
    run = place.run(uris=f"{web.url}/events.json")
    assert (run.code, len(run.records)) == (0, 4)


def test_a_user_and_a_signature_in_a_uri_are_sent_and_never_told(place: Workplace, web: WebServer) -> None:
    web.files["/events.json"] = event().encode()
    web.passwords["/events.json"] = "Basic bWU6Z2VoZWlt"
    uri = web.url.replace("http://", "http://me:geheim@") + "/events.json?X-Amz-Signature=sesame&part=1"
    run = place.run(uris=uri, env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"}, add_metadata_columns=True)
    assert (run.code, run.users) == (0, ["u0"]), run.log
    said = run.log + b"".join(run.lines).decode()
    assert "geheim" not in said
    assert "sesame" not in said
    assert "bWU6Z2VoZWlt" not in said
    resigned = place.run(uris=uri.replace("sesame", "other"), state=run.state)
    assert (resigned.code, resigned.records) == (0, [])
    web.passwords["/events.json"] = "Basic other"
    refused = place.run(uris=uri)
    assert refused.code == 1
    (line,) = refused.complaints
    assert "may not be read (HTTP 401)" in line
    assert "geheim" not in refused.log
    assert "sesame" not in refused.log


def test_files_that_hold_no_json_are_named_and_nothing_is_traced(place: Workplace) -> None:
    place.write("a.json", event())
    broken = place.folder / "broken.json"
    broken.write_text("")
    for option in ("--state", "--catalog", "--config"):
        done = place.run(option, str(broken))
        assert done.code == 1
        assert len(done.complaints) == 1
        assert f"{option}: expected" in done.complaints[0]
        assert str(broken) in done.complaints[0]
        assert "Traceback" not in done.log


def test_a_configuration_given_in_the_place_of_its_file_is_not_repeated(place: Workplace) -> None:
    done = place.run("--config", '{"aws_secret_access_key": "hush"}')
    assert done.code == 1
    assert "hush" not in done.log


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"type": "STATE", "value": {"bookmarks": {}}}, "pass what stands under its 'value'"),
        ({"singer_state": {"bookmarks": {}}}, "pass what stands under its 'singer_state'"),
        ({"bookmarks": None}, "state is damaged"),
        ({"bookmarks": []}, "state is damaged"),
        ({"bookmarks": {"events": None}}, "state is damaged"),
        ({"bookmarks": {"events": {"version": "2"}}}, "state is damaged"),
    ],
)
def test_a_state_that_is_none_is_refused_in_one_line(place: Workplace, state: t.Any, words: str) -> None:
    place.write("a.json", event())
    run = place.run(state=state)
    assert (run.code, run.records, len(run.complaints)) == (1, [], 1)
    assert words in run.complaints[0]
    assert "Traceback" not in run.log
