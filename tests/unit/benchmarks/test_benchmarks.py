"""Figures, targets and options of the benchmarks. tests/integration/benchmarks runs the measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.command_line import read_options
from benchmarks.figures import Figure, PairedRuns, run_in_turns
from benchmarks.ingests import IngestMeasurement
from benchmarks.processes import ProcessResult
from benchmarks.report import missed_targets
from benchmarks.whole_ingests import describe_growth
from core.endpoints import LISTEN_HISTORY
from pipeline.batches import Counts


def test_figures_are_compared_with_their_targets() -> None:
    ratio = Figure("fetch", 0.8, "", at_least=0.8, breakdown="writing")
    assert (ratio.result, ratio.number_text, ratio.target_text) == ("met", "0.80", "at least 0.8")
    memory = Figure("memory", 1025, "", "MB", at_most=1024, breakdown="tables")
    assert (memory.result, memory.number_text, memory.target_text) == ("missed", "1,025 MB", "at most 1,024 MB")
    figures = [ratio, memory, Figure("import", 5, "", "s"), Figure("rate", 0.6, "", at_least=0.7)]
    assert missed_targets(figures) == [
        "**memory** is 1,025 MB (at most 1,024 MB): tables",
        "**rate** is 0.60 (at least 0.7)",
    ]


def test_paired_runs_take_medians_of_ratios() -> None:
    runs = PairedRuns(120, [(1.0, 2.0), (4.0, 2.0), (3.0, 1.0)])
    assert (runs.project, runs.baseline) == (3.0, 2.0)
    assert (runs.times_baseline, runs.share_of_rate) == (2.0, 0.5)
    assert runs.rates("rows") == "40 rows a second against 60"


def test_both_sides_run_in_each_round_after_its_preparation() -> None:
    calls: list[str] = []
    runs = run_in_turns(
        2,
        lambda: calls.append("project"),
        lambda: calls.append("baseline"),
        count=7,
        show=lambda text: None,
        prepare=lambda: calls.append("prepare"),
    )
    assert calls == ["prepare", "project", "baseline"] * 2
    assert (runs.count, len(runs.seconds)) == (7, 2)


def test_growth_says_whether_it_rises() -> None:
    flat = [ingest(sessions, sessions / 1e5) for sessions in (10_000, 100_000)]
    assert describe_growth(flat).endswith("time per session does not rise and memory per session does not rise.")
    assert "time per session rises" in describe_growth([*flat, ingest(1_000_000, 12.0)])


def ingest(sessions: int, seconds: float) -> ProcessResult[IngestMeasurement]:
    measured = IngestMeasurement({"land": seconds}, 0.0, {LISTEN_HISTORY: Counts(rows_landed=sessions)}, {})
    return ProcessResult(measured, seconds, 10**8)


def test_page_of_some_measurements_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(["--only", "fetch", "--write"])
    assert "leave out --only" in capsys.readouterr().err
    assert read_options(["--growth", "1000,100"]).growth == (100, 1000)


def test_page_without_marks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(["--write", str(tmp_path)])
    assert "benchmarks: begin" in capsys.readouterr().err
