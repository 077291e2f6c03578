"""Each measurement, at a size at which it measures nothing: that it works, and that the page is written.

No time is asserted. What needs a child process to be meaningful runs in this one, which has imported everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from benchmarks import audit, fixed_cost
from benchmarks.bench import Bench
from benchmarks.command_line import MEASUREMENTS, _read_options
from benchmarks.figures import Figure, GrowthPoint, Measured, at_least, at_most
from benchmarks.ingests import ingest_day
from benchmarks.processes import Ran, Show, peak_bytes
from benchmarks.report import Report, missed, write_page
from benchmarks.source import BASE_DAY, Sizes, mock_api
from core.endpoints import LISTEN_HISTORY
from expectations import listen_history
from expectations.thresholds import load_thresholds
from pipeline import staging
from pipeline.batches import Batch
from tests.publications import quick_candidates

TINY = Sizes(users=300, tracks=300, sessions=3_000)
RUN_AS_WHOLE = "fixed-cost"  # three processes with a Prefect server each: one of them has a test of its own


def _in_this_process(show: Show, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Ran[Any]:
    """Quicker than a fresh process, but the peak is that of all that ran before."""
    return Ran(work(show, *args, **kwargs), peak_bytes())


@pytest.fixture(scope="module")
def bench(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("benchmarks")
    with (
        pytest.MonkeyPatch.context() as patch,
        Bench(TINY, (1_000, 3_000), 1, folder, postgres, _in_this_process, show=lambda text: None) as tiny,
    ):
        for name in [name for name in os.environ if name.startswith("THRESHOLD_")]:
            patch.delenv(name)
        yield tiny


@pytest.fixture(scope="module")
def measured(bench: Bench) -> dict[str, Measured]:
    with quick_candidates():  # all of them train in the tests of the models
        return {name: measure(bench) for name, measure in MEASUREMENTS.items() if name != RUN_AS_WHOLE}


def test_every_measurement_finds_something(measured: dict[str, Measured]) -> None:
    for name, found in measured.items():
        assert found.figures or found.scalings, name
        assert all(figure.number > 0 for figure in found.figures), name
    assert [point.sessions for point in measured["growth"].growth] == [1_000, 3_000]
    assert [scaling.over for scaling in measured["learning-growth"].scalings] == ["listeners", "tracks", "plays"]


def test_about_one_session_in_a_hundred_changes_a_day(bench: Bench, measured: dict[str, Measured]) -> None:
    day = measured["next-days"].figures[1].measured
    assert 0.005 < float(day.split("; ")[1].split(" %")[0]) / 100 < 0.02


def test_the_page_has_every_figure_and_the_plots(measured: dict[str, Measured], tmp_path: Path) -> None:
    machine = {"Processor": "one", "Cores": "2"}
    report = Report(date(2026, 11, 22), TINY, 1, 0.1, machine, measured)
    page = write_page(report, tmp_path).read_text()
    for figure in report.figures:
        assert f"| {figure.name} | {figure.target_shown} | {figure.shown} |" in page
    assert "300 users, 300 tracks, 3,000 sessions" in page
    assert "2026-11-22" in page
    plots = list((tmp_path / "images").iterdir())
    assert len(plots) == 2
    assert all(f"(images/{plot.name})" in page for plot in plots)
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)


def test_the_raw_statement_computes_every_rule_of_the_suite(bench: Bench) -> None:
    _ = bench.first_ingest
    thresholds = load_thresholds()
    rows_table, profile_table, _removed = staging.table_names(Batch(LISTEN_HISTORY, BASE_DAY, bench.warehouse.source))
    suite = [
        *listen_history.row_expectations(thresholds, profile_table),
        *listen_history.profile_expectations(thresholds),
    ]
    with audit.connected(bench.warehouse.database_url.get_secret_value()) as connection:
        broken = audit.broken_rows(connection, rows_table, profile_table, thresholds)
        assert set(broken) == {rule.meta["rule"] for rule in suite if rule.meta}
        assert set(broken.values()) == {0}
        connection.execute(f"create table staging.worse as table staging.{rows_table}")
        connection.execute("insert into staging.worse select * from staging.worse limit 1")
        connection.execute(
            "update staging.worse set items = '{999999}' where ctid in (select max(ctid) from staging.worse)"
        )
        broken = audit.broken_rows(connection, "worse", profile_table, thresholds)
        assert (broken["key_is_unique"], broken["tracks_are_published"], broken["user_is_published"]) == (1, 1, 0)


def test_the_parts_of_the_command_add_up(bench: Bench) -> None:
    with mock_api(Sizes(50, 50, 50)) as api_url:
        split = fixed_cost.run_inside(fixed_cost.empty_warehouse(bench, "parts", api_url), BASE_DAY)
    assert set(split) == set(fixed_cost._PARTS)
    assert all(seconds > 0 for seconds in split.values())


def test_verdicts() -> None:
    ratio = Figure("fetch", 0.8, "", at_least(0.8), "", "writing")
    assert (ratio.verdict, ratio.shown, ratio.target_shown) == ("met", "0.80", "at least 0.8")
    memory = Figure("memory", 1025, "MB", at_most(1024), "", "tables")
    assert (memory.verdict, memory.shown, memory.target_shown) == ("missed", "1,025 MB", "at most 1,024 MB")
    found = {"both": Measured("", [ratio, memory, Figure("import", 5, "s", None, "")])}
    report = Report(date(2026, 11, 22), TINY, 1, 1, {}, found)
    assert missed(report) == ["**memory** is 1,025 MB (at most 1,024 MB): tables"]


def test_growth_says_whether_it_rises() -> None:
    from benchmarks.growth import statement

    flat = [GrowthPoint(sessions, {"land": sessions / 1e5}, 10**8, "") for sessions in (10_000, 100_000)]
    assert statement(flat).endswith("time per session does not rise and memory per session does not rise.")
    steep = [*flat, GrowthPoint(1_000_000, {"land": 12.0}, 10**8, "")]
    assert "time per session rises" in statement(steep)


def test_a_page_of_some_measurements_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _read_options(["--only", "fetch", "--write"])
    assert "leave out --only" in capsys.readouterr().err
    assert _read_options(["--growth", "1000,100", "--date", "2026-11-22"]).growth == (100, 1000)


def test_an_ingest_reports_its_steps(bench: Bench) -> None:
    ingest = bench.first_ingest.result
    assert list(ingest.seconds) == ["open", "land", "shape", "stage", "audit", "publish"]
    assert (ingest.rows, ingest.sessions) == (3_600, 3_000)
    assert ingest_day.__module__ == "benchmarks.ingests", "children find it by name"
