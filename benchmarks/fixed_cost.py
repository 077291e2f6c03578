"""The fixed cost: the whole command at 1,000 rows a list, and what it is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from benchmarks.bench import PAGE_SIZE, Bench
from benchmarks.figures import Figure, Measured, Table, at_most
from benchmarks.inside_ingest import AUDIT, END, GREAT_EXPECTATIONS, ORCHESTRATION, OURS, PREFECT, SERVER
from benchmarks.source import BASE_DAY, ROOT, Sizes, mock_api
from core.database import migrate
from core.settings import Settings

HOW = (
    "`python -m flows.ingest` as a process of its own, from asking for it to its end, with a database that is migrated"
    " and empty, bytecode and Prefect's home warm from a run before that is not counted. The split is of further runs"
    " (`python -m benchmarks.inside_ingest`) in which Great Expectations is imported and Prefect's own server started"
    " before the flow instead of on its way, and the functions of the flow's tasks are timed where they stand: our own"
    " work is landing, shaping, staging, publishing, and opening and closing the run; Prefect around the tasks is all"
    " the rest of the flow."
)
ROWS = 1_000
_PARTS = (PREFECT, GREAT_EXPECTATIONS, SERVER, AUDIT, OURS, ORCHESTRATION, END)
_EXPLAINED = {
    PREFECT: "nearly all of it Prefect",
    GREAT_EXPECTATIONS: "on top of what Prefect imported",
    SERVER: "none when PREFECT_API_URL names a running one",
    AUDIT: "three lists, Data Docs included",
    OURS: "fetching from the mock included",
    ORCHESTRATION: "states of a flow and its tasks, artifacts, events, logs",
    END: "Prefect gives its server up to 5 s to stop",
}


def measure(bench: Bench) -> Measured:
    """The command as it is, then from inside."""
    with mock_api(Sizes(ROWS, ROWS, ROWS)) as api_url:
        bench.show("python -m flows.ingest, to warm up")
        run_whole(bench.settings("fixed", api_url), BASE_DAY)
        totals, splits = [], []
        for turn in range(bench.rounds):
            day = BASE_DAY + timedelta(days=1 + turn)
            bench.show(f"python -m flows.ingest, {turn + 1} of {bench.rounds}")
            totals.append(run_whole(empty_warehouse(bench, f"fixed_whole_{turn}", api_url), day))
            bench.show(f"from inside, {turn + 1} of {bench.rounds}")
            splits.append(run_inside(empty_warehouse(bench, f"fixed_inside_{turn}", api_url), day))
    split = {part: median(one[part] for one in splits) for part in _PARTS}
    return Measured(HOW, _figures(median(totals), split), [_table(split)])


def empty_warehouse(bench: Bench, name: str, api_url: str) -> Settings:
    """Settings with a database of its own that has all tables and no rows; the data folder is shared and warm."""
    settings = bench.settings(name, api_url)
    migrate(settings.database_url.get_secret_value())
    return settings.model_copy(update={"data_dir": bench.folder / "fixed"})


def run_whole(settings: Settings, day: date) -> float:
    """Seconds of the command."""
    began = time.time()
    _run(["-m", "flows.ingest", "--day", str(day)], settings)
    return time.time() - began


def run_inside(settings: Settings, day: date) -> Mapping[str, float]:
    """Seconds by part of the same run."""
    result = settings.data_dir / "inside.json"
    # Another day, so that its pages are not those that the run before has landed.
    arguments = [
        "-m",
        "benchmarks.inside_ingest",
        str(time.time()),
        str(result),
        "--day",
        str(day + timedelta(days=90)),
    ]
    _run(arguments, settings)
    ended, found = time.time(), json.loads(result.read_text())
    return {**found["seconds"], END: ended - found["ended_at"]}


def _run(arguments: Sequence[str], settings: Settings) -> None:
    Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    leave_out = ("PREFECT_", "THRESHOLD_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(leave_out)}
    environment |= {
        "MOOVITAMIX_API_URL": settings.moovitamix_api_url,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "DATA_DIR": str(settings.data_dir),
        "PAGE_SIZE": str(PAGE_SIZE),
        "FETCH_THREADS": str(settings.fetch_threads),
        "MOOVITAMIX_API_TOKEN": "",
    }
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")


def _figures(total: float, split: Mapping[str, float]) -> list[Figure]:
    return [
        Figure(
            name=f"fixed cost: python -m flows.ingest, {ROWS:,} rows a list",
            number=total,
            unit="s",
            target=None,
            measured=f"{split[SERVER] + split[END]:.1f} s less where a Prefect server runs already; split below",
        ),
        Figure(
            name="fixed cost: our own work",
            number=split[OURS],
            unit="s",
            target=at_most(3),
            measured=f"of {sum(split.values()):.1f} s; audit {split[AUDIT]:.1f} s, imports"
            f" {split[PREFECT] + split[GREAT_EXPECTATIONS]:.1f} s",
            spent="many small statements, each waiting for its commit",
        ),
    ]


def _table(split: Mapping[str, float]) -> Table:
    rows = [[part, f"{split[part]:.1f} s", _EXPLAINED[part]] for part in _PARTS]
    rows.append(["all", f"{sum(split.values()):.1f} s", ""])
    return Table(f"Fixed cost at {ROWS:,} rows a list", ("part", "time", ""), rows)
