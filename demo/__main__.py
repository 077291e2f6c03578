"""`make demo`: from the mock API to recommendations: four days of listening, a bad one among them, and a training.

Exit 0: all that should be published was, and all that should be blocked was; 1: something else happened.
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

from core.database import connect, ensure_database
from core.errors import MoovitamixError, SettingsError
from core.settings import load_settings
from core.terminal import prepare_terminal
from core.tracebacks import without_tracebacks
from demo.environment import (
    DemoError,
    MockApiClient,
    create_empty_folder,
    isolate_settings,
    mock_api,
    redirect_output,
    run_and_report,
)
from demo.scenario import FIRST_DAY, SCENARIO, FollowUpFlow, ScenarioStep
from demo.summary import look_further, read_summary
from demo.users import read_recommendation_summary

_STEPS_A_RUN = 15  # three lists, each landed, shaped, staged, audited, published
_STEPS_OF = {"recommend": 4, "retrain": 7}


def run(console: Console, folder: Path, how_to_open: str) -> None:
    """Tell the story. Raises DemoError when it ends otherwise than it must."""
    with mock_api(str(FIRST_DAY), "--sessions", "20000") as api:
        with _progress(console) as progress:
            steps = progress.add_task("starting Postgres, Great Expectations and Prefect", total=None)
            url = ensure_database(load_settings())
            # Prefect and Great Expectations take seconds to import: while something moves on the screen.
            from expectations import checkpoint  # noqa: F401
            from flows.ingest import ingest
            from flows.temporary_prefect_server import ensure_prefect_api

            ensure_prefect_api(folder)
            _follow(lambda: progress.advance(steps))
            for chapter in SCENARIO:
                progress.update(steps, completed=0, total=_STEPS_A_RUN, description=f"{chapter.day}  {chapter.title}")
                _play(chapter, api, ingest, console)
                if chapter.then:
                    total = _STEPS_OF[chapter.then.flow]
                    progress.update(steps, completed=0, total=total, description=f"            {chapter.then.title}")
                    _go_on(chapter.then, console)
        with connect(url) as connection:
            summary, recommended = read_summary(connection), read_recommendation_summary(connection)
    console.print()
    summary.show(console)
    recommended.show(console)
    look_further(console, folder, how_to_open)
    _check({batch.batch_id: batch.status for batch in summary.batches})
    _check_models([one.model for one in recommended.publications])


def _progress(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _play(chapter: ScenarioStep, api: MockApiClient, ingest: Callable[..., object], console: Console) -> None:
    from flows.run import IngestIncomplete

    begin = time.monotonic()
    api.turn(str(chapter.day), chapter.faults)
    try:
        ingest(day=chapter.day)
        what = "[green]published[/]"
    except IngestIncomplete:
        what = "[bold red]blocked[/]"
    console.print(f"  {chapter.day}  {chapter.title:<62}{what}  {time.monotonic() - begin:4.1f} s")


def _go_on(then: FollowUpFlow, console: Console) -> None:
    from flows.recommend import recommend
    from flows.retrain import retrain

    begin = time.monotonic()
    if then.flow == "retrain":
        retrain()
    else:
        recommend()
    console.print(f"              {then.title:<62}[green]published[/]  {time.monotonic() - begin:4.1f} s")


def _follow(advance: Callable[[], None]) -> None:
    """Call it whenever a task of a flow ends."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Finished in state" in record.getMessage():
                advance()

    logging.getLogger("prefect.task_runs").addHandler(Listener())


def _check(found: dict[str, str]) -> None:
    """Raises DemoError naming each batch that is not what the story says."""
    expected: dict[str, str] = {}
    for chapter in SCENARIO:
        for endpoint, state in chapter.expected.items():
            batch_id = f"{endpoint}-{chapter.day}"
            if batch_id not in expected:
                expected[batch_id] = state
            elif expected[batch_id] != state:  # what was blocked is fetched again as a second revision
                expected[f"{batch_id}-r2"] = state
    wrong = [
        f"{batch_id} is {found.get(batch_id, 'missing')} and should be {expected.get(batch_id, 'missing')}"
        for batch_id in sorted(expected.keys() | found.keys())
        if found.get(batch_id) != expected.get(batch_id)
    ]
    if wrong:
        raise DemoError("this should not have happened: " + "; ".join(wrong))


def _check_models(live: list[str]) -> None:
    """Raises DemoError when another kind of model went live than the story says."""
    expected = [chapter.then.personal for chapter in SCENARIO if chapter.then]
    if [not model.startswith("popularity") for model in live] != expected:
        raise DemoError(f"this should not have happened: the models that went live are {', '.join(live) or 'none'}")


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m demo", description=__doc__).parse_args(arguments)
    here = Path.cwd()
    try:
        folder = create_empty_folder()
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    shown = shlex.quote(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))
    isolate_settings(folder)
    with redirect_output(folder / "logs" / "demo.log") as console:
        console.print("[bold]Four days of listening, from the API to recommendations[/]\n")
        return run_and_report(console, lambda: run(console, folder, f"make psql DATA_DIR={shown}"), folder / "logs")


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
