"""Several days are measured on workers that read the database: the same rows as in the process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import SettingsError
from flows import monitor
from flows.run import Run
from recommender.monitoring import days_on_workers
from tests.conftest import temporary_database
from tests.integration.compute.dask_processes import LocalCluster
from tests.integration.monitor.world import Connection

pytestmark = pytest.mark.usefixtures("runs")

_RESULTS = (
    "select day, metric, value, users, lower, upper, publication_id, judged from ml.quality_metrics order by 1, 2",
    "select day, verdict, why, figures from ml.decisions order by decision_id",
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A cluster without workers, which the flow uses."""
    with LocalCluster(tmp_path / "cluster") as started:
        monkeypatch.setenv("DASK_SCHEDULER", started.address)
        monkeypatch.setenv("CODE_VERSION", started.version)
        yield started


def evaluate(connection: Connection) -> list[Any]:
    """Evaluate all days, and return what was written; then undo it."""
    assert monitor.main([]) == 0
    results = [connection.execute(query).fetchall() for query in _RESULTS]
    for table in ("quality_metrics", "decisions"):
        connection.execute(f"delete from ml.{table}")
    return results


def test_days_are_the_same_with_no_one_two_and_four_workers(
    copied: Connection, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER", "")
    in_process = evaluate(copied)
    assert len({row[0] for row in in_process[0]}) == 6
    monkeypatch.setenv("DASK_SCHEDULER", cluster.address)
    measured: list[int] = []
    measure = monitor.measure_on_workers

    def record(run: Run, *arguments: Any) -> Any:
        measured.append(len(days := measure(run, *arguments)))
        return days

    monkeypatch.setattr(monitor, "measure_on_workers", record)
    for new_workers in (1, 1, 2):
        cluster.add_workers(new_workers)
        assert evaluate(copied) == in_process
    assert measured == [6, 6, 6]


def test_worker_of_another_database_is_refused(
    copied: Connection, postgres: str, quiet_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[days_on_workers.DayMeasurement] = []
    monkeypatch.setattr(monitor, "measure_days", lambda runner, measurement, days: measured.append(measurement) or {})
    assert monitor.main([]) == 0
    (measurement,) = measured
    day = copied.execute("select min(day) from ml.decisions").fetchall()[0][0]
    assert measurement.measure(day).day == day
    with temporary_database(postgres, quiet_template) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(SettingsError, match="RECOMMENDER_DATABASE_URL of a worker is not the database of the run"):
            replace(measurement).measure(day)
