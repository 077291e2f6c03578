"""Monitor: measure the quality of published recommendations, day by day, and raise drift alarms.

`python -m flows.monitor` runs without a Prefect server; then no training starts automatically. Exit code 0: every past
day is evaluated, with or without alarms; 1: a day could not be evaluated; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from core.clock import clock_of
from core.errors import named_errors
from core.exit_codes import run_main
from core.roles import RECOMMENDER
from core.settings import Settings, load_settings
from core.tracebacks import keep_logs_readable
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.events import emit_aged, emit_degraded, notify_drift_alarm, print_next_command
from flows.failures import handle_failures, has_server
from flows.json_results import add_json_option
from flows.quality_reports import describe_evaluations, print_quality, show_quality
from flows.run import Run, open_run
from flows.state_messages import ends_with
from flows.task_costs import measured
from recommender.monitoring import quality_monitor
from recommender.monitoring.daily_quality import DayQuality
from recommender.monitoring.days_on_workers import DayMeasurement, measure_days
from recommender.monitoring.drift import CusumSettings
from recommender.monitoring.quality_monitor import DayEvaluation, DueDay, MonitoringSettings

_DECISIONS_SHOWN = 30


@flow(name="monitor", flow_run_name="monitor", validate_parameters=False)
@ends_with(describe_evaluations)
@handle_failures
def monitor() -> list[DayEvaluation]:
    """Evaluate every past day that has no evaluation yet, and ask for a training for each open drift alarm.

    A second run finds no new day, and asks again for the alarms that are still open. Raises DatabaseError.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    monitoring = monitoring_settings(settings)
    with open_run(settings, thresholds, "monitor", None, clock_of(settings), role=RECOMMENDER) as run:
        due_days = quality_monitor.days_to_evaluate(run.connection, run.clock())
        plays = measure_on_workers(run, due_days, monitoring.k)
        evaluations = [evaluate_day(run, due, monitoring, plays.get(due.day)) for due in due_days]
        alarms = quality_monitor.open_alarms(run.connection)
        run.outcome = evaluations[-1].verdict if evaluations else "nothing new"
        age = _age_to_refresh(run, evaluations) if not alarms else None
        show_quality(evaluations, alarms, quality_monitor.newest_decisions(run.connection, _DECISIONS_SHOWN))
        print_quality(evaluations, alarms)
    # These events start trainings, which need the lock that this run has released now.
    if not has_server() and (alarms or age is not None):
        command = "flows.retrain" if alarms else "flows.retrain --refresh"
        print_next_command(command, "a drift alarm is open" if alarms else "the live model is old")
    for alarm in alarms:
        emit_degraded(alarm)
        notify_drift_alarm(alarm, is_new=any(alarm.day == evaluation.quality.day for evaluation in evaluations))
    if age is not None:
        emit_aged(age)
    return evaluations


@task(task_run_name="evaluate-{due.day}", cache_policy=NO_CACHE)
@ends_with(lambda evaluation: describe_evaluations([evaluation]))
@measured
@named_errors()
def evaluate_day(
    run: Run, due: DueDay, monitoring: MonitoringSettings, plays: DayQuality | None = None
) -> DayEvaluation:
    """Evaluate one day, and store the evaluation in one transaction. Raises DatabaseError.

    `plays` is what a worker measured.
    """
    return quality_monitor.evaluate_day(run.connection, due, monitoring, run.clock(), plays)


def measure_on_workers(run: Run, due_days: Sequence[DueDay], k: int) -> dict[date, DayQuality]:
    """Measure several days at once on workers of DASK_SCHEDULER that have a login. Empty without them.

    Raises ComputeError, SettingsError, DatabaseError.
    """
    if len(due_days) < 2:
        return {}
    measurement = DayMeasurement(k, run.clock(), run.run_id, run.started_at)
    return measure_days(run.ensure_block_runner(), measurement, [due.day for due in due_days])


def monitoring_settings(settings: Settings) -> MonitoringSettings:
    plays, useful = (
        CusumSettings(settings.monitor_k, h, settings.monitor_warm_up)
        for h in (settings.monitor_h, settings.monitor_useful_h)
    )
    return MonitoringSettings(
        settings.retrain_evaluated_at, plays, useful, settings.monitor_listeners, settings.monitor_cool_down_days
    )


def _age_to_refresh(run: Run, evaluations: Sequence[DayEvaluation]) -> float | None:
    """Return the age of the live model in days, if it is due for a refresh."""
    if not evaluations:
        return None
    max_age, cool_down = run.settings.retrain_max_age_days, run.settings.monitor_cool_down_days
    return quality_monitor.age_due_for_refresh(run.connection, evaluations[-1], max_age, cool_down)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.monitor", description=__doc__)
    add_json_option(parser)
    options = parser.parse_args(arguments)
    return run_command(monitor, name="monitor", as_json=options.json, result_name="days")


if __name__ == "__main__":
    sys.exit(run_main(main))
