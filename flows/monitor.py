"""Monitor: how good the published lists turned out to be, day by day, and whether that fell beyond chance.

`python -m flows.monitor` runs it without a server; then nothing is retrained by itself. Exit 0: every day that is over
was judged, whatever the verdict; 1: it could not be judged; 2: bad usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

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
from flows.events import emit_aged, emit_degraded, notify_alarm, print_next_command
from flows.failures import handle_failures, has_server
from flows.json_results import add_json_option
from flows.quality_reports import print_quality, show_quality
from flows.run import Run, open_run
from flows.task_costs import measured
from recommender.monitoring import quality_monitor
from recommender.monitoring.drift import CusumSettings
from recommender.monitoring.quality_monitor import DayEvaluation, DueDay, MonitoringSettings

_DECISIONS_SHOWN = 30


@flow(name="monitor", flow_run_name="monitor", validate_parameters=False)
@handle_failures
def monitor() -> list[DayEvaluation]:
    """Judge every day that is over and was not judged yet, and say which alarms wait for a training.

    A second run finds nothing to judge, and tells of the same alarms again. Raises DatabaseError.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    rules = monitoring_settings(settings)
    with open_run(settings, thresholds, "monitor", None, clock_of(settings), role=RECOMMENDER) as run:
        judged = [judge_day(run, due, rules) for due in quality_monitor.days_to_evaluate(run.connection, run.clock())]
        alarms = quality_monitor.open_alarms(run.connection)
        run.outcome = judged[-1].verdict if judged else "nothing new"
        age = _age_to_refresh(run, judged) if not alarms else None
        show_quality(judged, alarms, quality_monitor.newest_decisions(run.connection, _DECISIONS_SHOWN))
        print_quality(judged, alarms)
    # Events begin trainings: after the run has let go of the warehouse, which they need.
    if not has_server() and (alarms or age is not None):
        command = "flows.retrain" if alarms else "flows.retrain --refresh"
        print_next_command(command, "an alarm waits for a training" if alarms else "the live model is old")
    for alarm in alarms:
        emit_degraded(alarm)
        notify_alarm(alarm, new=any(alarm.day == one.quality.day for one in judged))
    if age is not None:
        emit_aged(age)
    return judged


@task(task_run_name="judge-{due.day}", cache_policy=NO_CACHE)
@measured
@named_errors()
def judge_day(run: Run, due: DueDay, rules: MonitoringSettings) -> DayEvaluation:
    """The verdict on one day, written down in one transaction. Raises DatabaseError."""
    return quality_monitor.evaluate_day(run.connection, due, rules, run.clock())


def monitoring_settings(settings: Settings) -> MonitoringSettings:
    """How days are judged, by the settings."""
    plays, useful = (
        CusumSettings(settings.monitor_k, h, settings.monitor_warm_up)
        for h in (settings.monitor_h, settings.monitor_useful_h)
    )
    return MonitoringSettings(
        settings.retrain_evaluated_at, plays, useful, settings.monitor_listeners, settings.monitor_cool_down_days
    )


def _age_to_refresh(run: Run, judged: Sequence[DayEvaluation]) -> float | None:
    if not judged:
        return None
    most, cool_down = run.settings.retrain_max_age_days, run.settings.monitor_cool_down_days
    return quality_monitor.age_due_for_refresh(run.connection, judged[-1], most, cool_down)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.monitor", description=__doc__)
    add_json_option(parser)
    asked = parser.parse_args(arguments)
    return run_command(monitor, name="monitor", as_json=asked.json, result_name="days")


if __name__ == "__main__":
    sys.exit(run_main(main))
