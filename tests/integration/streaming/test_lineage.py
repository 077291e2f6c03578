"""Lineage of the stream: from the topic to fresh recommendations, without the id of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StreamAuditFailed
from flows import audit_stream
from flows.lineage_events import _topic_name
from tests.integration.streaming.conftest import Stream
from tests.integration.streaming.test_audit import change, listen
from tests.integration.test_lineage import (
    assert_runs_are_complete,
    assert_valid,
    completed,
    reachable,
    read,
    tables,
    write_events_to,
)

UNMISTAKABLE_ID = 7_300_811_022_334_455_667


@pytest.mark.usefixtures("prefect_server")
def test_events_lead_from_the_topic_to_fresh_recommendations(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events_file = write_events_to(tmp_path / "events.jsonl", monkeypatch)
    listen(stream, range(1, 4))
    assert not events_file.exists()  # the consumer sends none
    assert audit_stream.audit_stream().status == "passed"

    events = read(events_file)
    for event in events:
        assert_valid(event)
    assert_runs_are_complete(events, "audit_stream")
    ends = completed(events)
    consumed = ends["audit_stream.consume_sessions"]
    topic = consumed["inputs"][0]
    assert (topic["namespace"], topic["name"]) == (f"kafka://127.0.0.1:{stream.port}", stream.topic)
    assert {field["name"] for field in topic["facets"]["schema"]["fields"]} >= {"user_id", "items"}
    assert consumed["job"]["facets"]["jobType"]["processingType"] == "STREAMING"
    names = {name.partition(".")[2] for name in reachable(stream.topic, ends)}
    assert {"stream.sessions", "ml.fresh_recommendations", "stream.expectation_results"} <= names
    [audited] = ends["audit_stream.audit_fresh_recommendations"]["inputs"]
    assert audited["inputFacets"]["dataQualityAssertions"]["assertions"]


@pytest.mark.usefixtures("prefect_server")
def test_events_of_a_failed_audit_name_the_deletion_and_no_user(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events_file = write_events_to(tmp_path / "events.jsonl", monkeypatch)
    listen(stream, range(1, 4))
    change(stream, "update ml.fresh_recommendations set user_id = %s where user_id = 2", UNMISTAKABLE_ID)
    with pytest.raises(StreamAuditFailed):
        audit_stream.audit_stream()
    [deletion] = [event for event in read(events_file) if event["job"]["name"] == "audit_stream.delete_failed_lists"][
        1:
    ]
    assert "ml.fresh_recommendations" in tables(deletion["outputs"])
    assert str(UNMISTAKABLE_ID) not in events_file.read_text()


def test_topics_are_named_by_the_rules_of_openlineage(stream: Stream) -> None:
    kafka = {"stream_bootstrap_servers": "one:9092, two:9092", "stream_topic": "listens"}
    assert _topic_name(stream.settings.model_copy(update=kafka)) == ("kafka://one:9092", "listens")
    pubsub = {"stream_transport": "pubsub", "stream_pubsub_subscription": "projects/p/subscriptions/s"}
    assert _topic_name(stream.settings.model_copy(update=pubsub)) == ("pubsub", "subscription:p:s")
