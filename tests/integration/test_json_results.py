"""`--json`: a flow's command prints one JSON document on stdout, whether the run succeeds or fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows import erase, ingest, maintain, monitor, recommend, replay, retrain, rollback
from tests.conftest import USERS, MockApi

pytestmark = pytest.mark.usefixtures("prefect_server")

DAY = "2026-11-20"


def document(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(capfd.readouterr().out)
    return loaded


def test_every_flow_prints_its_result_as_json(
    api: MockApi, environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    api.set_faults({"endpoint": "tracks", "bad_rows": {"id_null": 5}})
    assert ingest.main(["--day", DAY, "--json"]) == 1
    result = document(capfd)
    batches = {batch["endpoint"]: batch for batch in result["result"]["batches"]}
    assert {endpoint: batch["status"] for endpoint, batch in batches.items()} == {
        "tracks": "blocked",
        "users": "published",
        "listen_history": "blocked",
    }
    assert batches["users"]["counts"]["rows_inserted"] == USERS
    assert batches["tracks"]["counts"]["rows_rejected"] == 5
    assert batches["tracks"]["failed_expectations"]
    assert batches["tracks"]["reason"] in result["error"]

    assert replay.main([f"tracks-{DAY}", "--accept", "known defect", "--by", "ticket 7", "--json"]) == 0
    (replayed,) = document(capfd)["result"]["batches"]
    assert (replayed["status"], replayed["counts"]["rows_rejected"]) == ("published", 5)
    assert replay.main([f"listen_history-{DAY}", "--json"]) == 0
    document(capfd)

    assert monitor.main(["--json"]) == 0
    assert document(capfd)["result"] == {"days": []}
    assert recommend.main(["--json"]) == 0
    published = document(capfd)["result"]
    assert published["publication_id"] == 1
    assert published["model"] == "popularity_by_genre"
    assert rollback.main(["1", "--json"]) == 0
    assert document(capfd)["result"] == {"publication_id": 1}
    assert maintain.main(["--json"]) == 0
    assert document(capfd)["result"]["deleted"]["data_docs_pages"] == 0
    assert erase.main(["1", "--reason", "request", "--requested-by", "ticket 7", "--json"]) == 0
    assert "raw rows" in document(capfd)["result"]["found"]


def test_empty_warehouse_is_an_error_in_json(environment: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert retrain.main(["--json"]) == 1
    result = document(capfd)
    assert (result["succeeded"], result["result"]) == (False, None)
    assert "there are no plays" in result["error"]
