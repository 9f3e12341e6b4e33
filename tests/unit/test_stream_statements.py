"""The SQL of the stream job, its submission and its progress, without any engine."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from flink_jobs import progress, service, statements
from lakehouse.adapters.flink import FlinkClient, Job, innermost_cause
from lakehouse.config.settings import Settings, load_settings
from lakehouse.contracts import EVENT_TOPICS, load
from lakehouse.domain.listening import rules
from lakehouse.errors import FatalError, RetryableError


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    return load_settings("local").model_copy(update={"home": tmp_path})


def test_every_column_of_a_bronze_table_is_inserted_by_name(local: Settings) -> None:
    job = statements.render(local)[-1]
    for table in (*(f"bronze.{topic}" for topic in EVENT_TOPICS), "bronze.dead_letters"):
        columns = ", ".join(f"`{c.name}`" for c in load(table).columns)
        assert f"INSERT INTO lake.{table} ({columns})" in job


def test_every_topic_has_bronze_and_dead_letters(local: Settings) -> None:
    *views, job = statements.render(local)
    [undecodable] = [view for view in views if view.startswith("CREATE TEMPORARY VIEW undecodable")]
    for contract in EVENT_TOPICS:
        assert undecodable.count(f"FROM {contract}_decoded WHERE reason IS NOT NULL") == 1
        assert job.count(f"FROM {contract}_decoded WHERE reason IS NULL") == 1
    # To the lake, and to a topic for whoever wants to be told.
    assert job.count("FROM undecodable") == 2


def test_windows_use_the_rules_and_not_a_copy(local: Settings) -> None:
    text = "\n".join(statements.render(local))
    assert rules.is_stream_sql() in text
    assert rules.rejection_reason_sql("plays") in text
    assert rules.rejection_reason_sql("ad_impressions") in text


def test_a_window_has_exactly_the_columns_of_its_contract() -> None:
    for window in statements.WINDOWS:
        contract = load(f"topics.{window.name}")
        assert [*contract.key, *window.measures] == [c.name for c in contract.columns]


def test_one_window_alone_is_that_of_the_job_between_other_topics(local: Settings) -> None:
    whole = statements.render(local)
    [plays, _] = statements.WINDOWS
    alone = statements.render_window(local, plays, source="in", target="out")
    assert alone[-1] in whole[-1]
    source, target = alone[len(statements.FUNCTIONS)], alone[len(statements.FUNCTIONS) + 2]
    assert "'topic' = 'in'" in source
    assert "'scan.bounded.mode' = 'latest-offset'" in source
    assert "'topic' = 'out'" in target
    assert not any("bronze" in text for text in alone)


def test_a_measure_that_the_contract_lacks_is_refused(local: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    [plays, _] = statements.WINDOWS
    wrong = replace(plays, measures={**plays.measures, "skips": "COUNT(*)"})
    monkeypatch.setattr(statements, "WINDOWS", (wrong,))
    with pytest.raises(FatalError, match="play_minutes"):
        statements.render(local)


def test_quotes_in_values_stay_inside_their_literal(local: Settings) -> None:
    broken = local.s3.model_copy(update={"access_key": "it's; DROP"})
    catalog = statements.render(local.model_copy(update={"s3": broken}))[len(statements.FUNCTIONS)]
    assert "'s3.access-key-id' = 'it''s; DROP'" in catalog


def test_the_program_does_not_change_with_addresses_passwords_or_descriptions(
    local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = service.fingerprint(local)
    elsewhere = local.model_copy(
        update={
            "kafka": local.kafka.model_copy(update={"port": 1}),
            "registry": local.registry.model_copy(update={"port": 2}),
            "s3": local.s3.model_copy(update={"access_key": "other"}),
        }
    )
    assert service.fingerprint(elsewhere) == before
    [plays, ads] = statements.WINDOWS
    for other in (
        replace(plays, measures={**plays.measures, "streams": "COUNT(*)"}),
        replace(plays, facts={**plays.facts, "is_stream": "FALSE"}),
    ):
        monkeypatch.setattr(statements, "WINDOWS", (other, ads))
        assert service.fingerprint(local) != before


def completed(folder: Path, run: str, number: int) -> Path:
    path = folder / run / f"chk-{number}"
    path.mkdir(parents=True)
    (path / "_metadata").touch()
    return path


def test_the_newest_completed_checkpoint_wins_over_names_and_unfinished_ones(tmp_path: Path) -> None:
    assert service.newest_checkpoint(tmp_path) is None
    completed(tmp_path, "f" * 32, 9)
    newest = completed(tmp_path, "a" * 32, 10)
    (tmp_path / ("f" * 32) / "chk-11").mkdir()
    assert service.newest_checkpoint(tmp_path) == newest


def test_a_submission_from_the_same_checkpoint_has_the_same_id_until_the_cluster_had_it(tmp_path: Path) -> None:
    checkpoint = completed(tmp_path, "a" * 32, 10)
    first = service.submission_id(checkpoint, set())
    assert first == service.submission_id(checkpoint, {"something else"})
    second = service.submission_id(checkpoint, {first})
    third = service.submission_id(checkpoint, {first, second})
    ids = {
        first,
        second,
        third,
        service.submission_id(None, set()),
        service.submission_id(completed(tmp_path, "b", 11), set()),
    }
    assert len(ids) == 5
    assert all(len(made) == 32 and int(made, 16) >= 0 for made in ids)


def test_state_of_another_program_is_refused(tmp_path: Path) -> None:
    service.same_program(tmp_path, "one", starts_empty=True)
    service.same_program(tmp_path, "one", starts_empty=False)
    with pytest.raises(FatalError, match="has changed"):
        service.same_program(tmp_path, "two", starts_empty=False)
    service.same_program(tmp_path, "two", starts_empty=True)
    service.same_program(tmp_path, "two", starts_empty=False)


def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    with (
        service.only_one(tmp_path / "lock"),
        pytest.raises(FatalError, match="Another"),
        service.only_one(tmp_path / "lock"),
    ):
        pass


def job(state: str, started: int = 1) -> Job:
    return Job(f"{started}", statements.JOB_NAME, state, started, 1, 1)


def test_two_running_jobs_are_an_alarm() -> None:
    assert service.only_active([]) is None
    assert service.only_active([job("FAILED", 1), job("RESTARTING", 2)]) == job("RESTARTING", 2)
    with pytest.raises(FatalError, match="2 jobs"):
        service.only_active([job("RUNNING", 1), job("CREATED", 2)])


TRACE = """org.apache.flink.runtime.rest.handler.RestHandlerException: Could not execute application.
	at a.b.C(D.java:1)
Caused by: java.lang.RuntimeException: outer
Caused by: org.postgresql.util.PSQLException: Connection refused
	at e.f.G(H.java:2)
"""


def test_the_innermost_cause_is_shown() -> None:
    assert innermost_cause(TRACE) == "org.postgresql.util.PSQLException: Connection refused"
    assert (
        innermost_cause("java.lang.OutOfMemoryError: Java heap space\n\tat a.b.C")
        == "java.lang.OutOfMemoryError: Java heap space"
    )
    assert innermost_cause("") == ""


def client(answers: dict[str, httpx.Response | Exception], seen: list[httpx.Request]) -> FlinkClient:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found = answers[f"{request.method} {request.url.path}"]
        if isinstance(found, Exception):
            raise found
        return found

    return FlinkClient("http://flink", transport=httpx.MockTransport(answer))


def test_a_failure_of_an_earlier_time_is_not_the_cause_that_is_asked_for() -> None:
    entries = [{"timestamp": 5_000, "stacktrace": "a.Wrapper: x\nCaused by: b.Full: y"}, {"timestamp": 1_000}]
    for since, cause in ((0, "b.Full: y"), (5, "b.Full: y"), (5.001, "")):
        answer = httpx.Response(200, json={"exceptionHistory": {"entries": entries}})
        with client({"GET /jobs/j/exceptions": answer}, []) as flink:
            assert flink.root_cause("j", since=since) == cause


def submit(flink: FlinkClient, tmp_path: Path, checkpoint: str | None) -> None:
    jar = tmp_path / "functions.jar"
    jar.write_bytes(b"PK")
    flink.submit(
        job_id="0" * 32, jar=jar, main_class="M", arguments=["A", "B"], configuration={"k": "v"}, checkpoint=checkpoint
    )


UPLOADED = httpx.Response(200, json={"filename": "/tmp/web/1_functions.jar"})  # noqa: S108 - a name in an answer


def test_a_submission_names_its_id_and_claims_its_checkpoint(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []
    answers: dict[str, Any] = {
        "POST /jars/upload": UPLOADED,
        "POST /jars/1_functions.jar/run": httpx.Response(200, json={"jobid": "0" * 32}),
        "DELETE /jars/1_functions.jar": httpx.Response(200, json={}),
    }
    submit(client(answers, seen), tmp_path, "file:///c/chk-3")
    body = json.loads(seen[1].content)
    assert (body["jobId"], body["programArgsList"]) == ("0" * 32, ["A", "B"])
    assert (body["savepointPath"], body["claimMode"], body["allowNonRestoredState"]) == (
        "file:///c/chk-3",
        "CLAIM",
        False,
    )
    submit(client(answers, seen), tmp_path, None)
    assert "savepointPath" not in json.loads(seen[4].content)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(400, json={"errors": [TRACE]}), "Connection refused"),
        (httpx.Response(500, json={"errors": ["x", "Caused by: DuplicateJobSubmissionException: y"]}), "Duplicate"),
        (httpx.Response(502, text="bad gateway"), "bad gateway"),
        (httpx.ReadTimeout("slow"), "went away"),
    ],
)
def test_a_refused_submission_may_be_tried_again(answer: Any, message: str, tmp_path: Path) -> None:
    answers: dict[str, Any] = {
        "POST /jars/upload": UPLOADED,
        "POST /jars/1_functions.jar/run": answer,
        "DELETE /jars/1_functions.jar": httpx.ConnectError("gone"),
    }
    with pytest.raises(RetryableError, match=message):
        submit(client(answers, []), tmp_path, None)


def test_an_absent_job_manager_is_retryable() -> None:
    with pytest.raises(RetryableError, match="does not answer"):
        client({"GET /jobs/overview": httpx.ConnectError("refused")}, []).jobs("x")
    with pytest.raises(RetryableError, match="503"):
        client({"GET /jobs/overview": httpx.Response(503)}, []).jobs("x")


def found(stored: int, pending: int = 0, dead: int = 0) -> progress.Progress:
    records, rows = {"plays": 10}, {"plays": stored}
    left = progress.missing(records, rows, {"plays": dead})
    return progress.Progress(records=records, rows=rows, dead_letters=dead, missing=left, windows_pending=pending)


def test_progress_is_done_only_when_lake_and_live_have_everything() -> None:
    assert not found(9).done
    assert not found(10, pending=1).done
    assert found(10).done
    assert found(9, dead=1).done
    assert found(11).missing == 0


def test_what_one_topic_has_too_many_fills_no_other() -> None:
    records, rows = {"plays": 10, "likes": 10}, {"plays": 9, "likes": 11}
    left = progress.missing(records, rows, {})
    assert left == 1
    assert not progress.Progress(records, rows, dead_letters=0, missing=left, windows_pending=0).done


def test_waiting_outlives_an_engine_that_is_away(local: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([RetryableError("Kafka is away."), found(3), found(10)])

    def measure(_: Settings) -> progress.Progress:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(progress, "measure", measure)
    monkeypatch.setattr(progress, "POLL_SECONDS", 0)
    said: list[str] = []
    assert progress.wait(local, timeout_seconds=60, say=said.append).done
    assert said == ["Kafka is away."]


def test_waiting_ends_with_what_is_missing_and_what_the_job_does(
    local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=10)
    monkeypatch.setattr(progress, "measure", lambda _: found(3))
    monkeypatch.setattr(progress, "job_hint", lambda _: "The stream job is RESTARTING")
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress, "POLL_SECONDS", 0)
    with pytest.raises(RetryableError, match="3 of 10 records") as error:
        progress.wait(local, timeout_seconds=25, say=lambda _: None)
    assert error.value.hint == "The stream job is RESTARTING"
