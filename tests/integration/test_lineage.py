"""Lineage: each step from the endpoint to the served list is an event of OpenLineage, and no transport fails a run."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import msgspec
import pytest
from openlineage.client import generated
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent
from openlineage.client.serde import Serde

from core.errors import DatabaseError
from flows.erase import main as erase
from flows.ingest import main as ingest
from flows.lineage import is_configured
from flows.lineage_events import COLUMN_LINEAGE, STEPS, marts_of
from flows.maintain import main as maintain
from flows.recommend import main as recommend
from flows.rollback import main as rollback
from tests.conftest import BASE_DAY, ROOT, Query

MARTS = ("mart.dim_tracks", "mart.track_plays_by_day", "mart.artist_plays_by_day", "mart.live_recommendations")
FACETS = {
    name: facet
    for module in iter_modules(generated.__path__)
    for name, facet in vars(import_module(f"openlineage.client.generated.{module.name}")).items()
    if name.endswith("Facet")
}


@pytest.fixture
def events_file(environment: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of a transport, which the environment configures."""
    return write_events_to(tmp_path / "events.jsonl", monkeypatch)


def write_events_to(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(file))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    return file


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_events_lead_from_the_endpoint_to_the_served_list(events_file: Path, query: Query) -> None:
    assert ingest(["--day", BASE_DAY]) == 0
    assert recommend([]) == 0
    events = read(events_file)
    for event in events:
        assert_valid(event)
    assert_runs_are_complete(events, "ingest", "recommend")

    ends = completed(events)
    targets = reachable("/listen_history", ends)
    assert any(name.endswith(".ml.recommendations") for name in targets)
    assert any(name.endswith(".ml.current_recommendations") for name in targets)
    assert any(name.endswith(".mart.weekly_cohorts") for name in targets)

    publish = ends["ingest.publish.tracks"]
    outputs = {data_set["name"].partition(".")[2]: data_set for data_set in publish["outputs"]}
    assert set(MARTS) <= outputs.keys()
    names = {field["name"] for field in outputs["mart.dim_tracks"]["facets"]["schema"]["fields"]}
    assert names == outputs["mart.dim_tracks"]["facets"]["columnLineage"]["fields"].keys()
    [staged] = ends["ingest.audit.tracks"]["inputs"]
    assertions = staged["inputFacets"]["dataQualityAssertions"]["assertions"]
    [(expectations, rows)] = query(
        "select (select count(*) from ops.expectation_results where batch_id like 'tracks%'), rows_staged"
        " from ops.batches where endpoint = 'tracks'"
    )
    assert len(assertions) == expectations
    assert staged["inputFacets"]["dataQualityMetrics"]["rowCount"] == rows
    text = events_file.read_text()
    for (value,) in query(
        "select email from warehouse.users union select first_name || ' ' || last_name from warehouse.users"
    ):
        assert value not in text


def completed(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The event of the end of each job."""
    return {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}


def tables(data_sets: Iterable[dict[str, Any]]) -> set[str]:
    """The names of tables, without the name of the database."""
    names = (data_set["name"] for data_set in data_sets if data_set["namespace"].startswith("postgres:"))
    return {name.partition(".")[2] for name in names}


def reachable(start: str, ends: dict[str, dict[str, Any]]) -> set[str]:
    """The data sets that were made from `start`, directly or through others."""
    edges = [
        (source["name"], target["name"])
        for event in ends.values()
        for source in event["inputs"]
        for target in event["outputs"]
    ]
    found = {start}
    while more := {target for source, target in edges if source in found} - found:
        found |= more
    return found


def assert_runs_are_complete(events: list[dict[str, Any]], *expected: str) -> None:
    """Each run begins and ends once, and each step names its flow's run."""
    states: dict[str, list[str]] = {}
    for event in events:
        states.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert set(map(tuple, states.values())) == {("START", "COMPLETE")}
    flows = {event["run"]["runId"]: event["job"]["name"] for event in events if "parent" not in event["run"]["facets"]}
    assert sorted(flows.values()) == sorted(expected)
    for event in events:
        if parent := event["run"]["facets"].get("parent"):
            assert flows[parent["run"]["runId"]] == event["job"]["name"].partition(".")[0]


def assert_valid(event: dict[str, Any]) -> None:
    """The event and its facets are what the classes that are generated from the specification's schemas accept."""
    bare = {name: value for name, value in event.items() if name not in ("run", "job", "inputs", "outputs")}
    parts = [(event["run"], Run, "facets"), (event["job"], Job, "facets")]
    parts += [(data_set, InputDataset, "inputFacets") for data_set in event["inputs"]]
    parts += [(data_set, OutputDataset, "outputFacets") for data_set in event["outputs"]]
    for part, kind, own_facets in parts:
        assert_accepted({name: value for name, value in part.items() if "acets" not in name}, kind)
        for facet in [*part.get("facets", {}).values(), *part.get(own_facets, {}).values()]:
            assert_accepted(facet, FACETS[urlsplit(facet["_schemaURL"]).fragment.rpartition("/")[2]])
    assert set(bare) == {"eventType", "eventTime", "producer", "schemaURL"}
    run = {"runId": event["run"]["runId"], "facets": {}}
    assert_accepted(bare | {"run": run, "job": {"namespace": "n", "name": "j", "facets": {}}}, RunEvent)


def assert_accepted(content: dict[str, Any], kind: type) -> None:
    """Types are checked strictly; a field that the class does not have would be missing in what it writes."""
    converted = msgspec.convert(content, kind)
    written = json.loads(Serde.to_json(converted))
    assert {name: value for name, value in written.items() if value not in ([], {})} == {
        name: value for name, value in content.items() if value not in ([], {})
    }


def test_rollback_leads_from_a_publication_to_the_served_list(events_file: Path) -> None:
    assert ingest(["--day", BASE_DAY]) == 0
    assert recommend([]) == recommend([]) == 0
    events_file.unlink()
    assert rollback([]) == 0
    events = read(events_file)
    for event in events:
        assert_valid(event)
    assert_runs_are_complete(events, "rollback")
    switched = completed(events)["rollback.switch_publication"]
    assert tables(switched["inputs"]) == {"ml.publications", "ml.recommendations"}
    assert {"ml.current_recommendations", "mart.live_recommendations"} <= tables(switched["outputs"])

    events_file.unlink()
    assert rollback(["99"]) == 2
    assert [event["eventType"] for event in read(events_file)] == ["START", "START", "FAIL", "FAIL"]


def test_maintain_names_the_tables_that_it_deletes_from(events_file: Path, query: Query) -> None:
    assert ingest(["--day", BASE_DAY]) == 0
    events_file.unlink()
    assert maintain([]) == 0
    events = read(events_file)
    for event in events:
        assert_valid(event)
    assert_runs_are_complete(events, "maintain")
    ends = completed(events)
    assert tables(ends["maintain.prune_experiments"]["outputs"]) == {
        "ml.experiment_outcomes",
        "ml.experiment_exposures",
    }
    assert "stream.minutes" in tables(ends["maintain.prune_stream"]["outputs"])
    landings = [data_set["name"] for data_set in ends["maintain.prune_batches"]["outputs"]]
    assert any(name.endswith("/landing/tracks") for name in landings)
    description = ends["maintain.prune_stream"]["job"]["facets"]["documentation"]["description"]
    assert description == "Deletes rows of its outputs."


def test_events_of_an_erasure_name_places_and_no_person(events_file: Path, query: Query) -> None:
    assert ingest(["--day", BASE_DAY]) == 0
    assert recommend([]) == 0
    [(user_id, email)] = query("select id, email from warehouse.users order by id desc limit 1")
    events_file.unlink()
    arguments = ["--reason", "request of the user", "--requested-by", "ticket 12"]
    assert erase([str(user_id), *arguments]) == 0
    events = read(events_file)
    for event in events:
        assert_valid(event)
    assert_runs_are_complete(events, "erase")
    erased = completed(events)["erase.erase_data"]
    expected = {"warehouse.users", "warehouse.listen_history", "ml.recommendations", "mart.dim_users"}
    assert expected <= tables(erased["outputs"])
    columns = [data_set for data_set in erased["outputs"] if data_set["name"].endswith(".warehouse.users")]
    assert "id" in {field["name"] for field in columns[0]["facets"]["schema"]["fields"]}
    text = events_file.read_text()
    assert str(user_id) not in text
    assert email not in text


def test_error_of_an_erasure_is_sent_without_its_text(events_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("a row of user 7300811022334455667 is locked")

    monkeypatch.setattr("erasure.steps.identify_user", fail)
    assert erase(["1", "--reason", "request of the user", "--requested-by", "ticket 12"]) == 1
    events = read(events_file)
    assert [event["eventType"] for event in events] == ["START", "START", "FAIL", "FAIL"]
    messages = {event["run"]["facets"]["errorMessage"]["message"] for event in events if event["eventType"] == "FAIL"}
    assert messages == {"DatabaseError"}


def test_unreachable_transport_does_not_fail_or_hold_up_a_run(
    environment: Path, prefect_server: None, caplog: pytest.LogCaptureFixture
) -> None:
    # The client adds names to the environment. `patch.dict` removes them, too: the next test has no transport.
    with patch.dict(os.environ, OPENLINEAGE_URL="http://127.0.0.1:9"):
        assert ingest(["--day", BASE_DAY, "--endpoint", "tracks"]) == 0
    assert not is_configured(os.environ)
    assert [record for record in caplog.records if "sends no lineage" in record.message]


def test_failed_expectation_is_in_the_event_of_the_audit(events_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHOLD_WARN_TRACK_SECONDS", "1")
    ingest(["--day", BASE_DAY, "--endpoint", "tracks"])
    [audit] = [
        event
        for event in read(events_file)
        if (event["job"]["name"], event["eventType"]) == ("ingest.audit.tracks", "COMPLETE")
    ]
    assertions = audit["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert any(not assertion["success"] for assertion in assertions)


def test_without_transport_nothing_is_imported(tmp_path: Path) -> None:
    code = "import sys, flows.ingest, flows.recommend; print([m for m in sys.modules if m.startswith('openlineage')])"
    names = [name for name in os.environ if name.startswith("OPENLINEAGE")]
    environ = {name: value for name, value in os.environ.items() if name not in names}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ | {"DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_transport_is_configured_by_the_environment_or_a_file(tmp_path: Path) -> None:
    assert not is_configured({}, (tmp_path,))
    assert not is_configured({"OPENLINEAGE_NAMESPACE": "n"}, (tmp_path,))
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE"):
        assert is_configured({name: "x"}, (tmp_path,))
        assert not is_configured({name: "x", "OPENLINEAGE_DISABLED": "true"}, (tmp_path,))
    (tmp_path / "openlineage.yml").touch()
    assert is_configured({}, (tmp_path,))


def test_every_measured_step_has_its_data_sets() -> None:
    # The first two call `measuring`, the others have a name that is computed.
    measured = {"land", "audit", "audit_sessions", "audit_fresh_recommendations"}
    for file in (ROOT / "flows").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                names = {name.id for name in node.decorator_list if isinstance(name, ast.Name)}
                measured |= {node.name} if "measured" in names else set()
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("lineage_of_step", ".record_step", "measured_as")
            ):
                constants = (argument.value for argument in node.args if isinstance(argument, ast.Constant))
                measured |= {value for value in constants if isinstance(value, str) and value}
    assert measured == STEPS.keys()


def test_column_lineage_is_what_postgres_knows(query: Query) -> None:
    columns = query(
        "select table_name::text, column_name::text from information_schema.columns where table_schema = 'mart'"
    )
    listed = {(mart, column) for mart, lineage in COLUMN_LINEAGE.items() for column in lineage["columns"]}
    assert listed == {(f"mart.{relation}", column) for relation, column in columns}

    everything = {
        f"{schema}.{relation}.{column}"
        for schema, relation, column in query(
            "select table_schema::text, table_name::text, column_name::text from information_schema.columns"
        )
    }
    used: dict[str, set[str]] = {}
    for view, schema, relation, column in query(
        "select view_name::text, table_schema::text, table_name::text, column_name::text"
        " from information_schema.view_column_usage where view_schema = 'mart'"
    ):
        used.setdefault(f"mart.{view}", set()).add(f"{schema}.{relation}.{column}")
    for mart, lineage in COLUMN_LINEAGE.items():
        origins = {*lineage.get("rows", ()), *(origin for column in lineage["columns"].values() for origin in column)}
        assert origins <= used.get(mart, everything), mart
        if mart in used:
            assert relations(origins) == relations(used[mart]), mart


def relations(columns: Iterable[str]) -> set[str]:
    return {column.rpartition(".")[0] for column in columns}


def test_marts_follow_their_sources() -> None:
    assert marts_of({"warehouse.users"}) == ["mart.dim_users"]
    assert "mart.cohort_retention" in marts_of({"warehouse.listen_history"})
    assert "mart.live_recommendations" in marts_of({"ml.current_recommendations"})
