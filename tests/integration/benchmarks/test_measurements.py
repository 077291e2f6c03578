"""Each measurement at a size at which its figures mean nothing: it works, and the page is written.

No test asserts a time. Work that needs a child process to be meaningful runs in this process, which is faster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from benchmarks import audit, commands
from benchmarks.command_line import MEASUREMENTS
from benchmarks.context import BenchmarkContext
from benchmarks.figures import Measurement
from benchmarks.ingests import ingest_day
from benchmarks.processes import run_in_this_process
from benchmarks.report import PAGE, BenchmarkReport
from benchmarks.source import BASE_DAY, Sizes, mock_api
from core.endpoints import LISTEN_HISTORY
from expectations import listen_history
from expectations.thresholds import load_thresholds
from pipeline import staging
from pipeline.batches import Batch
from tests.publications import quick_candidates

TINY = Sizes(users=300, tracks=300, sessions=3_000)
SEPARATE = ("fixed-cost", "with-server")  # many processes with a Prefect server: parts have tests of their own


@pytest.fixture(scope="module")
def context(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchmarkContext]:
    folder = tmp_path_factory.mktemp("benchmarks")
    tiny = BenchmarkContext(TINY, (1_000, 3_000), 1, folder, postgres, run_in_this_process, lambda text: None)
    with pytest.MonkeyPatch.context() as patch, tiny.at_exit:
        for name in [name for name in os.environ if name.startswith("THRESHOLD_")]:
            patch.delenv(name)
        patch.setattr("benchmarks.streaming.MODELS", ("ease",))
        patch.setattr("benchmarks.serving.MODEL", "ease")
        yield tiny


@pytest.fixture(scope="module")
def measurements(context: BenchmarkContext) -> dict[str, Measurement]:
    with quick_candidates():  # all of them train in the tests of the models
        return {name: measure(context) for name, measure in MEASUREMENTS.items() if name not in SEPARATE}


def test_every_measurement_has_results(measurements: dict[str, Measurement]) -> None:
    for name, measurement in measurements.items():
        assert measurement.figures or measurement.scalings, name
        assert all(figure.number > 0 for figure in measurement.figures), name
    assert [point.result.sessions for point in measurements["growth"].growth] == [1_000, 3_000]
    dimensions = [scaling.dimension for scaling in measurements["training-growth"].scalings]
    assert dimensions == ["users", "tracks", "plays"]


def test_about_one_session_in_a_hundred_changes_a_day(measurements: dict[str, Measurement]) -> None:
    day = measurements["next-days"].figures[1].measured
    assert 0.005 < float(day.split("; ")[1].split(" %")[0]) / 100 < 0.02


def test_page_has_every_figure_and_the_plots(measurements: dict[str, Measurement], tmp_path: Path) -> None:
    machine = {"Processor": "unknown", "Cores": "2"}
    report = BenchmarkReport(date(2026, 11, 22), TINY, 1, 0.1, machine, measurements)
    marks = [f"<!-- {PAGE.mark}: {end} -->" for end in ("begin", "end")]
    (tmp_path / PAGE.name).write_text(f"# Title\n\n{marks[0]}\nold\n{marks[1]}\n\nMethods.\n")
    report.draw(tmp_path)
    page = PAGE.write(tmp_path, report.lines()).read_text()
    assert page.startswith("# Title\n")
    assert page.endswith("\n\nMethods.\n")
    assert "old\n" not in page
    for figure in report.figures:
        assert f"| {figure.name} | {figure.target_text} | {figure.number_text} |" in page
    assert "300 users, 300 tracks, 3,000 sessions" in page
    assert "2026-11-22" in page
    plots = list((tmp_path / "images").iterdir())
    assert len(plots) == 2
    assert all(f"(images/{plot.name})" in page for plot in plots)
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)


def test_raw_statement_computes_every_rule_of_the_suite(context: BenchmarkContext) -> None:
    _ = context.first_ingest
    thresholds, settings = load_thresholds(), context.warehouse
    rows_table, profile_table, _removed = staging.table_names(Batch(LISTEN_HISTORY, BASE_DAY, settings.source))
    suite = [
        *listen_history.row_expectations(thresholds, profile_table),
        *listen_history.profile_expectations(thresholds),
    ]
    with audit.connect_as_audit(settings.database_url.get_secret_value()) as connection:
        broken = audit.count_broken_rows(connection, rows_table, profile_table, thresholds)
        assert set(broken) == {rule.meta["rule"] for rule in suite if rule.meta}
        assert set(broken.values()) == {0}
        connection.execute(f"create table staging.worse as table staging.{rows_table}")
        connection.execute("insert into staging.worse select * from staging.worse limit 1")
        connection.execute(
            "update staging.worse set items = '{999999}' where ctid in (select max(ctid) from staging.worse)"
        )
        broken = audit.count_broken_rows(connection, "worse", profile_table, thresholds)
        assert (broken["key_is_unique"], broken["tracks_are_published"], broken["user_is_published"]) == (1, 1, 0)


def test_parts_of_the_command_add_up(context: BenchmarkContext) -> None:
    with mock_api(Sizes(50, 50, 50)) as api_url:
        parts = commands.run_parts(commands.empty_warehouse(context, "parts", api_url), BASE_DAY)
    assert set(parts) == set(commands.PARTS)
    assert all(seconds > 0 for seconds in parts.values())


def test_ingest_reports_its_steps(context: BenchmarkContext) -> None:
    ingest = context.first_ingest.result
    assert list(ingest.seconds) == ["open", "land", "shape", "stage", "audit", "publish"]
    assert (ingest.rows, ingest.sessions) == (3_600, 3_000)
    assert ingest_day.__module__ == "benchmarks.ingests", "children find it by name"
