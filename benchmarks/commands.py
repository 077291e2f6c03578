"""Commands as a whole: the fixed cost of an ingest and its parts, and the CPU time of `moovitamix --help`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, Table, seconds_of
from benchmarks.inside_ingest import FLOW, GREAT_EXPECTATIONS, PREFECT, SERVER
from benchmarks.source import BASE_DAY, ROOT, Sizes, mock_api
from core.database import connect, migrate
from core.settings import Settings

ROWS = 1_000
AUDIT, STEPS, REST, END = "audit", "other steps of the flow", "rest of the flow", "server stop and exit"
PARTS = {
    PREFECT: "nearly all of it Prefect",
    GREAT_EXPECTATIONS: "on top of the imports of Prefect",
    SERVER: "none if PREFECT_API_URL names a running server",
    AUDIT: "three snapshots, with Data Docs",
    STEPS: "with fetching from the mock",
    REST: "opening and closing the run; states of flow and tasks, artifacts, events, logs",
    END: "Prefect gives its server up to 5 s to stop",
}


def measure_fixed_cost(context: BenchmarkContext) -> Measurement:
    """Run the whole command, then its parts."""
    with mock_api(Sizes(ROWS, ROWS, ROWS)) as api_url:
        context.show("python -m flows.ingest, to warm up")
        run_command(context.settings("fixed", api_url), BASE_DAY)
        totals, splits = [], []
        for number in range(context.rounds):
            day = BASE_DAY + timedelta(days=1 + number)
            context.show(f"python -m flows.ingest, {number + 1} of {context.rounds}")
            totals.append(run_command(empty_warehouse(context, f"fixed_whole_{number}", api_url), day))
            context.show(f"its parts, {number + 1} of {context.rounds}")
            splits.append(run_parts(empty_warehouse(context, f"fixed_parts_{number}", api_url), day))
    parts = {part: median(split[part] for split in splits) for part in PARTS}
    return Measurement(_figures(median(totals), parts), [_table(parts)])


def empty_warehouse(context: BenchmarkContext, name: str, api_url: str) -> Settings:
    """Settings with their own migrated and empty database, and the shared, warm data folder."""
    settings = context.settings(name, api_url)
    migrate(settings.database_url.get_secret_value())
    return settings.model_copy(update={"data_dir": context.folder / "fixed"})


def run_command(settings: Settings, day: date) -> float:
    """Seconds of the command."""
    return seconds_of(lambda: _run(settings, "flows.ingest", "--day", str(day)))


def run_parts(settings: Settings, day: date) -> Mapping[str, float]:
    """Seconds by part of the same command."""
    result = settings.data_dir / "parts.json"
    # Another day, because the command before has landed the pages of this one.
    started, day = time.time(), day + timedelta(days=90)
    _run(settings, "benchmarks.inside_ingest", str(started), str(result), "--day", str(day))
    ended, measured = time.time(), json.loads(result.read_text())
    with connect(settings.database_url.get_secret_value()) as connection:
        query = "select task = 'audit', sum(seconds) from ops.task_runs group by 1"
        steps: dict[bool, float] = dict(connection.execute(query).fetchall())
    seconds = measured["seconds"]
    rest = {AUDIT: steps[True], STEPS: steps[False], REST: seconds.pop(FLOW) - sum(steps.values())}
    return {**seconds, **rest, END: ended - measured["ended_at"]}


def _run(settings: Settings, module: str, *arguments: str) -> None:
    Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    excluded = ("PREFECT_", "THRESHOLD_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
    environment |= {"MOOVITAMIX_API_URL": settings.moovitamix_api_url, "MOOVITAMIX_API_TOKEN": ""}
    environment |= {"DATABASE_URL": settings.database_url.get_secret_value(), "DATA_DIR": str(settings.data_dir)}
    environment |= {"PAGE_SIZE": str(settings.page_size), "FETCH_THREADS": str(settings.fetch_threads)}
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"python -m {module} exited with {process.returncode}: {process.stdout}{process.stderr}")


def _figures(total: float, parts: Mapping[str, float]) -> list[Figure]:
    imports = parts[PREFECT] + parts[GREAT_EXPECTATIONS]
    return [
        Figure(
            f"fixed cost: python -m flows.ingest, {ROWS:,} rows a snapshot",
            total,
            f"{parts[SERVER] + parts[END]:.1f} s less where a Prefect server runs already",
            unit="s",
        ),
        Figure(
            "fixed cost: steps of the flow without audit",
            parts[STEPS],
            f"of {sum(parts.values()):.1f} s; audit {parts[AUDIT]:.1f} s, imports {imports:.1f} s",
            unit="s",
            at_most=3,
            breakdown="many small statements, each waiting for its commit",
        ),
    ]


def _table(parts: Mapping[str, float]) -> Table:
    rows = [f"{part} | {parts[part]:.1f} s | {remark}" for part, remark in PARTS.items()]
    rows.append(f"all | {sum(parts.values()):.1f} s | ")
    return Table(f"Fixed cost at {ROWS:,} rows a snapshot", "part | time | ", rows)


def measure_help(context: BenchmarkContext) -> Measurement:
    """User and system CPU seconds of `moovitamix --help`. The first run is not counted."""
    context.show("moovitamix --help")
    command, seconds = [sys.executable, "-m", "cli", "--help"], []
    for _ in range(1 + context.rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    seconds = seconds[1:]
    measured = f"at least {min(seconds):.2f} CPU s"
    return Measurement([Figure("moovitamix --help", median(seconds), measured, unit="CPU s", at_most=0.5)])
