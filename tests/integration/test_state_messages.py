"""The log of a run and its final state say its result, on a real Prefect server."""

from __future__ import annotations

import logging

import pytest
from prefect import flow, task

from flows.state_messages import ends_with


@pytest.mark.usefixtures("prefect_server")
def test_each_task_logs_one_line_and_the_flow_ends_with_its_result(caplog: pytest.LogCaptureFixture) -> None:
    @task
    @ends_with("{:,} rows landed".format)
    def land() -> int:
        return 1200

    @flow
    @ends_with(lambda rows: f"{rows:,} rows")
    def read() -> int:
        return land() + land()

    with caplog.at_level(logging.INFO, logger="prefect.task_runs"):
        assert read() == 2400
    assert [record.message for record in caplog.records if record.name == "prefect.task_runs"] == [
        "1,200 rows landed",
        "1,200 rows landed",
    ]
    assert str(read(return_state=True)) == "Completed('2,400 rows')"
