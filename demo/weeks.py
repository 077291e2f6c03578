"""`python -m demo.weeks`: four simulated weeks with a blocked outage, a taste shift, a drift alarm and a training.

Time is simulated. The Prefect server, the worker, Postgres and the serving API are real. Users see their
recommendations and give feedback. Exit code 0: the result is as expected; 1: it is not, or an error occurred.
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

from core.api_scopes import Scope
from core.clock import clock_of
from core.data_layout import DataLayout
from core.database import connect, ensure_database
from core.exit_codes import returns_exit_code, run_main
from core.settings import load_settings
from core.terminal import prepare_terminal
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
RECOVERY_SHARE = 0.9
_HISTORY_DAYS = 30
_SESSIONS_PER_DAY = 400
_MOCK_API_OPTIONS = {
    "--start": FIRST_DAY - timedelta(_HISTORY_DAYS),
    "--users": 500,
    "--tracks": 1000,
    "--sessions": _SESSIONS_PER_DAY * _HISTORY_DAYS,
    "--new-sessions": 1 / _HISTORY_DAYS,
    "--plays-per-session": 8,
    "--outage": OUTAGE,
    "--taste-shift": f"{SHIFT}=0.5",
}
_SETTINGS = {
    "RECOMMENDATIONS_PER_USER": "20",
    "RETRAIN_SEARCH_TRIALS": "15",
    "MONITOR_WARM_UP": "8",  # instead of 14: leaves days before the shift on which a false alarm would show
    # Instead of 7. A day after the shift no model can know the new tastes, so the first training may keep the champion.
    "MONITOR_COOL_DOWN_DAYS": "3",
    "SERVING_FEEDBACK_PER_MINUTE": "1000000",
    "SERVING_REQUESTS_PER_MINUTE": "1000000",
}
_ON_DEGRADATION = "retrain/on-degradation"
_DEPLOYMENTS = (_ON_DEGRADATION, "retrain/on-age")
_USERS_PER_DAY = 70
_TRAINING_TIMEOUT_SECONDS = 1200.0
_SECONDS_BETWEEN_EVENTS = 60.0


@dataclass
class Simulation:
    """The running parts: the mock API, the clock file, the services and the simulated app."""

    api: MockApiClient
    clock: Path
    services: RunningServices
    front_end: FrontEnd
    console: Console

    def simulate_day(self, day: date) -> None:
        """Run one day: ingest, monitor, training after an alarm, recommend; then users open the app."""
        from flows.ingest import ingest
        from flows.monitor import monitor
        from flows.recommend import recommend
        from flows.run import IngestIncomplete

        self.set_time(day, hour=3)
        try:
            ingest(day=day)
        except IngestIncomplete as error:  # the previous publication stays live
            self.console.print(Text(f"  {day}  blocked: {str(error).partition('blocked: ')[2]}", "bold red"))
        else:
            if day == FIRST_DAY:
                self._train()
            for decision in monitor():
                self._print_decision(decision)
            if self._has_open_alarm():
                monitor()  # a second run must not start a second training
                self._wait_for_training()
            if day != FIRST_DAY:
                recommend()
        self.set_time(day, hour=12)
        self.front_end.simulate_day(self._user_ids(), _USERS_PER_DAY)

    def set_time(self, day: date, hour: int) -> None:
        """Set the day of the mock API and the clock of the project."""
        self.api.set_day_and_faults(str(day), [])
        self.clock.write_text(f"{day}T{hour:02}:00:00+00:00\n")

    def _train(self) -> None:
        from flows.retrain import retrain

        trained = retrain()
        if trained is None or trained.published is None:
            raise DemoError("the first training published no model")
        self.console.print(f"  {FIRST_DAY}  first training: {trained.decision.recipe.model} is published")

    def _print_decision(self, decision: Any) -> None:
        style = {"alarm": "bold red", "not-judged": "yellow"}.get(decision.verdict, "dim")
        why = decision.why if decision.verdict == "alarm" else decision.why.partition("; ")[0]
        self.console.print(Text(f"  {decision.quality.day}  {decision.verdict}: {why}", style), soft_wrap=True)

    def _has_open_alarm(self) -> bool:
        with connect(ensure_database(load_settings())) as connection:
            return bool(open_alarms(connection))

    def _wait_for_training(self) -> None:
        """Wait for the training that the event starts. Raises DemoError on a timeout.

        The trigger ignores events for two minutes after one, and here days pass in seconds. So the monitor runs again.
        """
        from flows.monitor import monitor

        begin = repeated = time.monotonic()
        while self._has_open_alarm():
            if time.monotonic() > begin + _TRAINING_TIMEOUT_SECONDS:
                raise DemoError("no training ended within the time limit; see logs/worker-models.log")
            if time.monotonic() > repeated + _SECONDS_BETWEEN_EVENTS:
                monitor()
                repeated = time.monotonic()
            time.sleep(0.5)
        seconds = time.monotonic() - begin
        self.console.print(f"              {_ON_DEGRADATION}, started by the event, ended after {seconds:.0f} s")

    def _user_ids(self) -> list[int]:
        with connect(ensure_database(load_settings())) as connection:
            return [row[0] for row in connection.execute("select user_id from mart.dim_users where removed_at is null")]


def run(console: Console, folder: Path) -> QualityHistory:
    """Simulate all days. Returns the measured quality. Raises DemoError if a service fails."""
    options = [str(word) for option in _MOCK_API_OPTIONS.items() for word in option]
    clock = Path(os.environ["CLOCK_FILE"])
    clock.write_text(f"{FIRST_DAY}T03:00:00+00:00\n")
    settings = load_settings()
    with mock_api(str(FIRST_DAY), *options) as api, run_services(folder, _DEPLOYMENTS) as services:
        front_end = FrontEnd(services.serving_url, _create_api_key(settings), api)
        simulation = Simulation(api, clock, services, front_end, console)
        with _fast_flows():
            for number in range((LAST_DAY - FIRST_DAY).days + 1):
                simulation.simulate_day(FIRST_DAY + timedelta(number))
        with connect(ensure_database(settings)) as connection:
            return read_quality_history(connection, services.runs(_ON_DEGRADATION))


def _fast_flows() -> AbstractContextManager[object]:
    """Turn off heartbeats, which delay the end of a short flow by a second, and logging to the Prefect server.

    The flows log to the file instead. The server still has the log of the run that the worker starts.
    """
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False})


def _create_api_key(settings: Any) -> str:
    from core.database import migrate

    url = ensure_database(settings)
    migrate(url)
    with connect(url) as connection:
        scopes: tuple[Scope, ...] = ("recommendations:read", "feedback:write")
        return keys.create(connection, "demo", scopes, clock_of(settings)()).text


def check(history: QualityHistory) -> None:
    """Raises DemoError that names every unexpected result."""
    errors = []
    if [alarm.metric for alarm in history.alarms] not in (["ndcg@20"], ["ndcg@20", "ndcg@20"]):
        alarms = [f"{alarm.metric} on {alarm.day}" for alarm in history.alarms]
        errors.append(f"the drift alarms are {alarms}, expected one or two of ndcg@20")
    if any(alarm.day < SHIFT for alarm in history.alarms):
        errors.append("there is a drift alarm before the taste shift")
    states = [run["state_type"] for run in history.runs]
    # The monitor repeats the event of a training of over two minutes. Prefect cancels a run that this starts meanwhile.
    if states.count("COMPLETED") < len(history.alarms) or not {*states} <= {"COMPLETED", "CANCELLED"}:
        errors.append(f"the runs started by the event are {states}, expected one COMPLETED for each alarm")
    decisions = [decision for _, cause, decision in history.trainings if cause == "degradation"]
    if decisions not in (["published"], ["kept", "published"]):
        errors.append(
            f"the trainings are {history.trainings}, expected that the last one of a drift alarm is published"
        )
    if [day.day for day in history.days if day.verdict == "not-judged"] != [OUTAGE]:
        errors.append("only the day of the outage may be not-judged")
    if history.blocked != [OUTAGE + timedelta(1)]:
        errors.append(f"the blocked days are {history.blocked}, expected {OUTAGE + timedelta(1)}")
    if history.latest_mean < RECOVERY_SHARE * history.baseline:
        errors.append(
            f"ndcg@20 is {history.latest_mean:.4f} after the training; the baseline was {history.baseline:.4f}"
        )
    if errors:
        raise DemoError("unexpected result: " + "; ".join(errors))


@returns_exit_code
def main(arguments: list[str] | None = None) -> int:
    """Run the demo. Returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m demo.weeks", description=__doc__)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the measured quality to this file, as JSON")
    options = parser.parse_args(arguments)
    report = options.report.resolve() if options.report else None
    working_directory = Path.cwd()
    folder = create_empty_folder("weeks")
    isolate_settings(folder, CLOCK_FILE=str(folder / "clock"), **_SETTINGS)
    displayed = folder.relative_to(working_directory) if folder.is_relative_to(working_directory) else folder
    with redirect_output(DataLayout(folder).log("weeks")) as console:
        console.print("\n[bold]Four weeks: an outage, and a day on which half of the users change taste[/]\n")
        return run_and_report(
            console, lambda: _run_and_check(console, folder, displayed / "quality.png", report), DataLayout(folder).logs
        )


def _run_and_check(console: Console, folder: Path, plot: Path, report: Path | None) -> None:
    history = run(console, folder)
    print_quality_history(history, console, OUTAGE, SHIFT)
    draw_quality_history(history, folder / "quality.png", OUTAGE, SHIFT)
    if report:
        report.write_text(json.dumps(history.as_json(), indent=1))
    check(history)
    console.print(f"\nPlot of the quality with its events: {plot}", markup=False)


if __name__ == "__main__":
    sys.exit(run_main(main))
