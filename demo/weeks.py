"""`python -m demo.weeks`: four weeks of listening. An outage is blocked, a change of taste is noticed and answered.

Days pass quickly; Prefect's server, its worker, Postgres and the serving API are real. Listeners are shown their lists
and say what is useful. Exit 0: all of it came as it must; 1: something else happened.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from core.clock import clock_of
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
from demo.front_end import FrontEnd
from demo.local_services import RunningServices, run_services
from demo.quality_history import QualityHistory, draw_quality_history, print_quality_history, read_quality_history
from recommender.monitoring.quality_monitor import open_alarms
from serving import keys

FIRST_DAY = date(2026, 9, 1)
OUTAGE = FIRST_DAY + timedelta(10)
SHIFT = FIRST_DAY + timedelta(17)
LAST_DAY = FIRST_DAY + timedelta(30)
RECOVERED = 0.9
_HISTORY_DAYS = 30
_SESSIONS_A_DAY = 400
_WORLD = {
    "--start": FIRST_DAY - timedelta(_HISTORY_DAYS),
    "--users": 500,
    "--tracks": 1000,
    "--sessions": _SESSIONS_A_DAY * _HISTORY_DAYS,
    "--new-sessions": 1 / _HISTORY_DAYS,
    "--plays-per-session": 8,
    "--outage": OUTAGE,
    "--taste-shift": f"{SHIFT}=0.5",
}
_SETTINGS = {
    "RECOMMENDATIONS_PER_USER": "20",
    "RETRAIN_SEARCH_SECONDS": "60",
    "MONITOR_WARM_UP": "8",  # instead of 14, so that there are days on which an alarm would be possible, and is not
    "SERVING_FEEDBACK_PER_MINUTE": "1000000",
    "SERVING_REQUESTS_PER_MINUTE": "1000000",
}
_ON_DEGRADATION = "retrain/on-degradation"
_DEPLOYMENTS = (_ON_DEGRADATION, "retrain/on-age")
_LISTENERS_A_DAY = 70
_SECONDS_FOR_A_TRAINING = 240.0


@dataclass
class Simulation:
    """What each day needs: the API and its clock, the programs, and the app that shows lists."""

    api: MockApiClient
    clock: Path
    programs: RunningServices
    front_end: FrontEnd
    console: Console

    def play(self, day: date) -> None:
        """One day: its ingest in the night, the monitor, a training if there is an alarm, new lists, listeners."""
        from flows.ingest import ingest
        from flows.monitor import monitor
        from flows.recommend import recommend
        from flows.run import IngestIncomplete

        self.turn(day, hour=3)
        try:
            ingest(day=day)
        except IngestIncomplete as error:  # what was published before stays, and nothing begins by itself
            self.console.print(Text(f"  {day}  blocked: {str(error).partition('blocked: ')[2]}", "bold red"))
        else:
            if day == FIRST_DAY:
                self._train()
            for judged in monitor():
                self._tell(judged)
            if self._alarmed():
                monitor()  # once more, while the training begins: the same alarm, and no other training
                self._wait_for_the_answer()
            if day != FIRST_DAY:
                recommend()
        self.turn(day, hour=12)
        self.front_end.day(self._listeners(), _LISTENERS_A_DAY)

    def turn(self, day: date, hour: int) -> None:
        """Let it be that hour of that day, for the API and for all of ours."""
        self.api.turn(str(day), [])
        self.clock.write_text(f"{day}T{hour:02}:00:00+00:00\n")

    def _train(self) -> None:
        from flows.retrain import retrain

        trained = retrain()
        if trained is None or trained.published is None:
            raise DemoError("nothing was published by the first training")
        self.console.print(f"  {FIRST_DAY}  a first training: {trained.decision.recipe.model} is published")

    def _tell(self, judged: Any) -> None:
        style = {"alarm": "bold red", "not-judged": "yellow"}.get(judged.verdict, "dim")
        why = judged.why if judged.verdict == "alarm" else judged.why.partition("; ")[0]
        self.console.print(Text(f"  {judged.quality.day}  {judged.verdict}: {why}", style), soft_wrap=True)

    def _alarmed(self) -> bool:
        with connect(ensure_database(load_settings())) as connection:
            return bool(open_alarms(connection))

    def _wait_for_the_answer(self) -> None:
        """Nobody calls the training: the event does. Raises DemoError when none answers."""
        begin = time.monotonic()
        while self._alarmed():
            if time.monotonic() > begin + _SECONDS_FOR_A_TRAINING:
                raise DemoError("no training answered the alarm; see logs/worker.log")
            time.sleep(0.5)
        seconds = time.monotonic() - begin
        self.console.print(f"              answered by {_ON_DEGRADATION}, begun by the event, after {seconds:.0f} s")

    def _listeners(self) -> list[int]:
        with connect(ensure_database(load_settings())) as connection:
            return [row[0] for row in connection.execute("select user_id from mart.dim_users where removed_at is null")]


def run(console: Console, folder: Path) -> QualityHistory:
    """Let the weeks pass. Returns what was measured on the way. Raises DemoError when something does not work."""
    world = [str(word) for option in _WORLD.items() for word in option]
    clock = Path(os.environ["CLOCK_FILE"])
    clock.write_text(f"{FIRST_DAY}T03:00:00+00:00\n")
    settings = load_settings()
    with mock_api(str(FIRST_DAY), *world) as api, run_services(folder, _DEPLOYMENTS) as programs:
        weeks = Simulation(api, clock, programs, FrontEnd(programs.serving_url, _key(settings), api), console)
        with _in_haste():
            for number in range((LAST_DAY - FIRST_DAY).days + 1):
                weeks.play(FIRST_DAY + timedelta(number))
        with connect(ensure_database(settings)) as connection:
            return read_quality_history(connection, programs.runs(_ON_DEGRADATION))


def _in_haste() -> AbstractContextManager[object]:
    """Flows that end after a second need not say that they live, and wait a second for the thread that would.

    What they log goes to the file; the server has the log of the run that the worker began.
    """
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False})


def _key(settings: Any) -> str:
    from core.database import migrate

    url = ensure_database(settings)
    migrate(url)
    with connect(url) as connection:
        scopes: tuple[keys.Scope, ...] = ("recommendations:read", "feedback:write")
        return keys.create(connection, "demo", scopes, clock_of(settings)()).text


def check(curve: QualityHistory) -> None:
    """Raises DemoError naming what should not have happened."""
    wrong = []
    if [alarm.metric for alarm in curve.alarms] != ["ndcg@20"]:
        wrong.append(f"the alarms are {[f'{one.metric} of {one.day}' for one in curve.alarms]}, and one is right")
    if any(alarm.day < SHIFT for alarm in curve.alarms):
        wrong.append("there was an alarm before anything changed")
    if [run["state_type"] for run in curve.runs] != ["COMPLETED"]:
        wrong.append(f"the trainings begun by the event are {[run['state_type'] for run in curve.runs]}")
    if [answer for _, cause, answer in curve.trainings if cause == "degradation"] != ["published"]:
        wrong.append(f"the trainings are {curve.trainings}")
    if [day.day for day in curve.days if day.verdict == "not-judged"] != [OUTAGE]:
        wrong.append("the day of the outage, and no other, should not be judged")
    if curve.blocked != [OUTAGE + timedelta(1)]:
        wrong.append(f"the blocked days are {curve.blocked}, and {OUTAGE + timedelta(1)} is right")
    if curve.now < RECOVERED * curve.usual:
        wrong.append(f"ndcg@20 is {curve.now:.4f} after the training, and was {curve.usual:.4f}")
    if wrong:
        raise DemoError("this should not have happened: " + "; ".join(wrong))


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m demo.weeks", description=__doc__)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was seen there, as JSON")
    asked = parser.parse_args(arguments)
    report = asked.report.resolve() if asked.report else None
    here = Path.cwd()
    try:
        folder = create_empty_folder("weeks")
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    isolate_settings(folder, CLOCK_FILE=str(folder / "clock"), **_SETTINGS)
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    with redirect_output(folder / "logs" / "weeks.log") as console:
        console.print("\n[bold]Four weeks: an outage, and a day on which half of the listeners change taste[/]\n")
        return run_and_report(console, lambda: _story(console, folder, shown / "quality.png", report), folder / "logs")


def _story(console: Console, folder: Path, shown: Path, report: Path | None) -> None:
    curve = run(console, folder)
    print_quality_history(curve, console, OUTAGE, SHIFT)
    draw_quality_history(curve, folder / "quality.png", OUTAGE, SHIFT)
    if report:
        report.write_text(json.dumps(curve.as_json(), indent=1))
    check(curve)
    console.print(f"\nThe curve with alarm and publication: {shown}", markup=False)


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
