"""`make demo`: four days from the mock API to recommendations, with a blocked day, a training and live listening.

Exit code 0: every batch has the expected status; 1: a batch has another status, or an error occurred.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from core.data_layout import DataLayout
from core.database import connect, ensure_database
from core.exit_codes import returns_exit_code, run_main
from core.settings import load_settings
from core.terminal import prepare_terminal
from demo import live_listening
from demo.environment import (
    MockApiClient,
    create_empty_folder,
    isolate_settings,
    mock_api,
    redirect_output,
    run_and_report,
)
from demo.scenario import FIRST_DAY, SCENARIO, FollowUpFlow, ScenarioStep, check_batches, check_models
from demo.summary import print_locations, read_summary
from demo.users import read_recommendation_summary

_INGEST_TASKS = 15  # three endpoints, each landed, transformed, staged, audited and published
_TASKS_OF_FLOW = {"recommend": 4, "retrain": 7}


def run(console: Console, folder: Path, how_to_open: str, seconds: float) -> None:
    """Run the scenario and print the result. Raises DemoError if the result differs from the expected one."""
    with mock_api(str(FIRST_DAY), "--sessions", "20000") as api:
        with _progress(console) as progress:
            bar = progress.add_task("starting Postgres, Great Expectations and Prefect", total=None)
            url = ensure_database(load_settings())
            # Import here: Prefect and Great Expectations take seconds, and the progress bar already moves.
            from expectations import checkpoint  # noqa: F401
            from flows.ingest import ingest
            from flows.temporary_prefect_server import ensure_prefect_api

            ensure_prefect_api(folder)
            _on_task_end(lambda: progress.advance(bar))
            for step in SCENARIO:
                progress.update(bar, completed=0, total=_INGEST_TASKS, description=f"{step.day}  {step.title}")
                _run_ingest(step, api, ingest, console)
                if step.follow_up:
                    total = _TASKS_OF_FLOW[step.follow_up.flow]
                    progress.update(bar, completed=0, total=total, description=f"            {step.follow_up.title}")
                    _run_follow_up(step.follow_up, console)
        with connect(url) as connection:
            summary, recommendations = read_summary(connection), read_recommendation_summary(connection)
        console.print()
        summary.show(console)
        recommendations.show(console)
        if seconds:
            live_listening.listen(console, api, url, load_settings(), seconds)
    print_locations(console, folder, how_to_open)
    check_batches({batch.batch_id: batch.status for batch in summary.batches})
    check_models([publication.model for publication in recommendations.publications])


def _progress(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _run_ingest(step: ScenarioStep, api: MockApiClient, ingest: Callable[..., object], console: Console) -> None:
    from flows.run import IngestIncomplete

    begin = time.monotonic()
    api.set_day_and_faults(str(step.day), step.faults)
    try:
        ingest(day=step.day)
        status = "[green]published[/]"
    except IngestIncomplete:
        status = "[bold red]blocked[/]"
    console.print(f"  {step.day}  {step.title:<62}{status}  {time.monotonic() - begin:4.1f} s")


def _run_follow_up(follow_up: FollowUpFlow, console: Console) -> None:
    from flows.recommend import recommend
    from flows.retrain import retrain

    begin = time.monotonic()
    if follow_up.flow == "retrain":
        retrain()
    else:
        recommend()
    console.print(f"              {follow_up.title:<62}[green]published[/]  {time.monotonic() - begin:4.1f} s")


def _on_task_end(callback: Callable[[], None]) -> None:
    """Call `callback` whenever a Prefect task logs its result."""

    class TaskEndHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            callback()

    logging.getLogger("prefect.task_runs").addHandler(TaskEndHandler())


@returns_exit_code
def main(arguments: list[str] | None = None) -> int:
    """Run the demo. Returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--listening-seconds", type=float, default=60.0, help="how long users listen live at the end; 0: not at all"
    )
    seconds = parser.parse_args(arguments).listening_seconds
    working_directory = Path.cwd()
    folder = create_empty_folder()
    in_working_directory = folder.is_relative_to(working_directory)
    displayed = shlex.quote(str(folder.relative_to(working_directory) if in_working_directory else folder))
    isolate_settings(folder)
    with redirect_output(DataLayout(folder).log("demo")) as console:
        console.print("[bold]Four days of listening, from the API to recommendations[/]\n")
        return run_and_report(
            console, lambda: run(console, folder, f"make psql DATA_DIR={displayed}", seconds), DataLayout(folder).logs
        )


if __name__ == "__main__":
    sys.exit(run_main(main))
