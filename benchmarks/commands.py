"""Commands as a whole: the fixed cost of an ingest and its parts, and the CPU time of `moovitamix --help`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from statistics import median

from benchmarks.context import BenchmarkContext, migrate_and_connect, url_of
from benchmarks.figures import Figure, Measurement, Table, breakdown, seconds_of
from benchmarks.inside_ingest import FLOW, PREFECT, SERVER
from benchmarks.processes import ROOT, run_module
from benchmarks.source import BASE_DAY, Sizes, mock_api
from core.settings import Settings
from demo.local_services import free_ports
from services.deploy import wait_until_reachable

ROWS = 1_000
# Rows of each snapshot of the comparison with a loader without checks.
SMALL, MEDIUM = Sizes(ROWS, ROWS, ROWS), Sizes(users=50_000, tracks=20_000, sessions=50_000)
_SECONDS_TO_START = 120.0
AUDIT, STEPS, BETWEEN_STEPS, END = "audit", "other steps of the flow", "rest of the flow", "server stop and exit"
PARTS = {
    PREFECT: "nearly all of it Prefect",
    SERVER: "none if PREFECT_API_URL names a running server",
    AUDIT: "three snapshots, with Data Docs and the rest of the import of Great Expectations in another process",
    STEPS: "with fetching from the mock",
    BETWEEN_STEPS: "opening and closing the run; states of flow and tasks, artifacts, events, logs",
    END: "Prefect gives its server up to 5 s to stop",
}


def measure_fixed_cost(context: BenchmarkContext) -> Measurement:
    """Run the whole command, then its parts."""
    with mock_api(SMALL) as api_url:
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
    measured = f"of {sum(parts.values()):.1f} s; audit {parts[AUDIT]:.1f} s, imports {parts[PREFECT]:.1f} s"
    figures = [
        Figure(
            f"fixed cost: python -m flows.ingest, {ROWS:,} rows a snapshot",
            median(totals),
            "starts a temporary Prefect server",
            unit="s",
            at_most=9,
            breakdown=breakdown(parts),
        ),
        Figure(
            "fixed cost: steps of the flow without audit",
            parts[STEPS],
            measured,
            unit="s",
            at_most=3,
            breakdown="many small statements, each waiting for its commit",
        ),
    ]
    rows = [f"{part} | {parts[part]:.1f} s | {remark}" for part, remark in PARTS.items()]
    rows.append(f"all | {sum(parts.values()):.1f} s | ")
    return Measurement(figures, [Table(f"Fixed cost at {ROWS:,} rows a snapshot", "part | time | ", rows)])


def measure_with_server(context: BenchmarkContext) -> Measurement:
    """Run the whole command with a running Prefect server, and a loader without checks, at two sizes."""
    seconds, rows = {}, []
    with prefect_server(context) as server_url:
        for sizes in (SMALL, MEDIUM):
            with mock_api(sizes) as api_url:
                ingest, loader = seconds[sizes] = _paired_seconds(context, sizes, api_url, server_url)
            rows.append(f"{sizes} | {ingest:.1f} s | {loader:.1f} s")
    name = f"with a running Prefect server: python -m flows.ingest, {ROWS:,} rows a snapshot"
    ingest, loader = seconds[SMALL]
    figure = Figure(name, ingest, f"{loader:.1f} s without any checks", unit="s", at_most=4)
    header = "rows | this project | a loader without checks (`benchmarks/minimal_loader.py`)"
    return Measurement([figure], [Table("First ingest with a running Prefect server", header, rows)])


def _paired_seconds(context: BenchmarkContext, sizes: Sizes, api_url: str, server_url: str) -> tuple[float, float]:
    """Median seconds of an ingest into an empty warehouse, and of the loader into an empty database."""
    ingests, loads = [], []
    run_command(context.settings("fixed", api_url), BASE_DAY, server_url)  # warms up
    for number in range(context.rounds):
        name = f"server_{sizes.sessions}_{number}"
        context.show(f"python -m flows.ingest with a server, {sizes}, {number + 1} of {context.rounds}")
        settings = empty_warehouse(context, name, api_url)
        ingests.append(run_command(settings, BASE_DAY + timedelta(days=1 + number), server_url))
        database = url_of(context.settings(f"{name}_peer", api_url))
        loads.append(_seconds_of_module(settings, "benchmarks.minimal_loader", api_url, database))
    return median(ingests), median(loads)


@contextmanager
def prefect_server(context: BenchmarkContext) -> Iterator[str]:
    """Run a Prefect server of its own. Yields the URL of its API. Raises DeploymentError if it does not start."""
    context.show("starting a Prefect server")
    url = ("--host", "127.0.0.1", "--port", str(free_ports(1)[0]))
    environment = {"PREFECT_HOME": str(context.folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with run_module("prefect", "server", "start", *url, environment=environment, **silent):
        wait_until_reachable(f"http://127.0.0.1:{url[-1]}/api/health", _SECONDS_TO_START)
        yield f"http://127.0.0.1:{url[-1]}/api"


def empty_warehouse(context: BenchmarkContext, name: str, api_url: str) -> Settings:
    """Settings with their own migrated and empty database, and the shared, warm data folder."""
    settings = context.settings(name, api_url)
    with migrate_and_connect(settings):
        return settings.model_copy(update={"data_dir": context.folder / "fixed"})


def run_command(settings: Settings, day: date, server_url: str = "") -> float:
    """Seconds of the command. Without the URL of a Prefect server, it starts a temporary one."""
    return _seconds_of_module(settings, "flows.ingest", "--day", str(day), server_url=server_url)


def run_parts(settings: Settings, day: date) -> Mapping[str, float]:
    """Seconds by part of the same command."""
    result = settings.data_dir / "parts.json"
    # Another day, because the first command has landed the pages of the first day.
    started, day = time.time(), day + timedelta(days=90)
    _seconds_of_module(settings, "benchmarks.inside_ingest", str(started), str(result), "--day", str(day))
    ended, measured = time.time(), json.loads(result.read_text())
    with migrate_and_connect(settings) as connection:
        query = "select task = 'audit', sum(seconds) from ops.task_runs group by 1"
        steps: dict[bool, float] = dict(connection.execute(query).fetchall())
    seconds = measured["seconds"]
    seconds_by_part = {AUDIT: steps[True], STEPS: steps[False], BETWEEN_STEPS: seconds.pop(FLOW) - sum(steps.values())}
    return {**seconds, **seconds_by_part, END: ended - measured["ended_at"]}


def _seconds_of_module(settings: Settings, module: str, *arguments: str, server_url: str = "") -> float:
    """Seconds of `python -m module` with these settings. Raises RuntimeError if it fails."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    excluded = ("PREFECT_", "THRESHOLD_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(excluded)} | {
        "MOOVITAMIX_API_URL": settings.moovitamix_api_url,
        "MOOVITAMIX_API_TOKEN": "",
        "DATABASE_URL": url_of(settings),
        "DATA_DIR": str(settings.data_dir),
        "PAGE_SIZE": str(settings.page_size),
        "FETCH_THREADS": str(settings.fetch_threads),
        **({"PREFECT_API_URL": server_url} if server_url else {}),
    }

    def run() -> None:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"python -m {module} exited with {process.returncode}: {process.stdout}{process.stderr}")

    return seconds_of(run)


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
