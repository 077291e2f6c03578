"""The final state of a run says its result."""

from __future__ import annotations

from datetime import date

from flows.ingest import ingest
from flows.run import BatchResult
from flows.state_messages import describe_batches, describe_counts
from pipeline.batches import Batch, Counts

TRACKS = BatchResult(Batch("tracks", date(2026, 11, 22), "http://x"), "published", Counts(rows_inserted=1200))
USERS = BatchResult(Batch("users", date(2026, 11, 22), "http://x"), "unchanged", Counts(), published_earlier=True)


def test_result_of_an_ingest_names_each_batch() -> None:
    message = "tracks-2026-11-22 published (1,200 rows changed), users-2026-11-22 unchanged by an earlier run"
    assert describe_batches([TRACKS, USERS]) == message
    assert describe_counts({"landings": 0, "data_docs_pages": 3}) == "3 data docs pages"
    assert describe_counts({}) == "nothing"


def test_described_flow_keeps_its_parameters() -> None:
    assert list(ingest.parameters.properties) == ["day", "endpoints", "refresh"]
