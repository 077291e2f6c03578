"""Experiments: serve two models side by side, compare them, and promote the better one.

`python -m flows.experiment start PUBLICATION_ID`, `stop [--promote]` and `status` run without a Prefect server. Exit
code 0: done; 1: it failed; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import date

from core.clock import clock_of
from core.database import Connection, connect
from core.errors import UsageError
from core.exit_codes import run_main
from core.roles import RECOMMENDER, ensure_schema_for_role
from core.settings import Settings, load_settings
from core.stores import model_store
from core.tracebacks import keep_logs_readable
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from flows.lineage import lineage_of_run, lineage_of_step
from flows.recommend import recommend
from recommender.monitoring.experiment_looks import newest_look
from recommender.monitoring.experiment_outcomes import ExperimentResult, evaluate_experiment
from recommender.monitoring.sequential_test import MIN_USERS, VariantComparison
from recommender.publishing import experiments
from recommender.publishing.experiments import ExperimentState


def start(publication_id: int, share: float, why: str) -> int:
    """Start an experiment with the model of a publication as the treatment, and return its id.

    Raises UnusablePublication, UsageError, PublicationError, ModelFileError, DatabaseError.
    """
    keep_logs_readable()
    settings = load_settings()
    with connect(ensure_schema_for_role(settings, RECOMMENDER)) as connection:
        experiment_id = experiments.start(
            connection, model_store(settings), publication_id, share=share, why=why, now=clock_of(settings)()
        )
    print(f"experiment {experiment_id} is recorded; recommend publishes both variants", flush=True)
    return experiment_id


def stop(promote: bool, anyway: bool, why: str) -> int:
    """End the running experiment, and return the publication that is live then.

    Raises UsageError if none runs, or if the treatment is to be promoted and is not better (unless `anyway`);
    PublicationError if it is not served, DatabaseError.
    """
    keep_logs_readable()
    settings = load_settings()
    clock = clock_of(settings)
    with (
        connect(ensure_schema_for_role(settings, RECOMMENDER)) as connection,
        lineage_of_run(flow="experiment", connection=connection, settings=settings, clock=clock) as lineage,
    ):
        report = _report(connection, settings)
        if promote and not anyway and report is not None and report.result.verdict != "better":
            raise UsageError(
                f"the treatment of experiment {report.state.experiment_id} is {report.result.verdict}, not better "
                "beyond chance; wait for more days, or promote it --anyway"
            )
        with lineage_of_step(lineage, "switch_publication", clock):
            live_id = experiments.stop(connection, promote=promote, why=why, now=clock())
        print(f"publication {live_id} is live for all users", flush=True)
    return live_id


@dataclass(frozen=True)
class ExperimentReport:
    """An experiment, and the comparison of its variants by all days up to `day`, the last of `looks` evaluated days."""

    state: ExperimentState
    result: ExperimentResult
    looks: int
    day: date | None


def status() -> ExperimentReport | None:
    """Print the newest experiment and its result, and return them; None before the first. Raises DatabaseError."""
    keep_logs_readable()
    settings = load_settings()
    with connect(ensure_schema_for_role(settings, RECOMMENDER)) as connection:
        report = _report(connection, settings)
    if report is None:
        print("there is no experiment", flush=True)
    else:
        print_state(report.state)
        print(f"{report.looks} looks, the last after {report.day}" if report.day else "no day is evaluated yet")
        print_result(report.result, settings.retrain_evaluated_at)
    return report


def _report(connection: Connection, settings: Settings) -> ExperimentReport | None:
    state = experiments.newest_experiment(connection)
    if state is None:
        return None
    look = newest_look(connection, state.experiment_id)
    if look is not None:
        return ExperimentReport(state, look.result, look.number, look.day)
    k = settings.retrain_evaluated_at
    result = evaluate_experiment(connection, state.experiment_id, state.treatment_share, k)
    return ExperimentReport(state, result, 0, None)


def print_result(result: ExperimentResult, k: int) -> None:
    """Print the comparison of both variants, and its verdict."""
    print(f"{result.control_users:,} users got the control, {result.treatment_users:,} the treatment")
    for name, comparison in ((f"ndcg@{k}", result.ndcg), ("useful", result.useful), ("plays a day", result.plays)):
        print(f"{name}: {_describe(comparison)}")
    if result.without_list is not None:
        control, treatment = result.without_list
        print(f"without recommendations of their own: {control:.1%} of the control, {treatment:.1%} of the treatment")
    if result.coverage is not None:
        control, treatment = result.coverage
        print(f"coverage@{k}: {control:.1%} of the catalogue by the control, {treatment:.1%} by the treatment")
    failed = "{:,} of the control, {:,} of the treatment".format(*result.failed_users)
    print(f"users with failed requests: {failed}")
    for problem in result.problems:
        print(f"problem: {problem}")
    print(f"the treatment is {result.verdict}", flush=True)


def _describe(comparison: VariantComparison | None) -> str:
    if comparison is None:
        return "no values of both variants yet"
    text = (
        f"{comparison.control:.4f} with the control ({comparison.control_users:,} users), {comparison.treatment:.4f} "
        f"with the treatment ({comparison.treatment_users:,} users)"
    )
    if comparison.lower is None or comparison.upper is None:
        return f"{text}; bounds need {MIN_USERS} users of each"
    return f"{text}, difference {comparison.difference:+.4f} ({comparison.lower:+.4f} to {comparison.upper:+.4f})"


def print_state(state: ExperimentState) -> None:
    """Print an experiment: its models, and whether both are served."""
    print(
        f"experiment {state.experiment_id}, since {state.started_at:%Y-%m-%d %H:%M} UTC: "
        f"{state.control_model} (model run {state.control_run_id}) against {state.treatment_model} "
        f"(model run {state.treatment_run_id}) for {state.treatment_share:.0%} of users: {state.why}"
    )
    if state.outcome is not None:
        print(f"{state.outcome} on {state.ended_at:%Y-%m-%d %H:%M} UTC: {state.outcome_why}", flush=True)
    elif state.paused_why is not None:
        print(f"paused, all users get the control: {state.paused_why}", flush=True)
    else:
        print(
            f"served: publication {state.control_publication_id} and, to users of the treatment, "
            f"{state.treatment_publication_id}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.experiment", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start_parser = commands.add_parser("start", help="serve the live model and that of a publication side by side")
    start_parser.add_argument("publication_id", type=int, help="a publication of the model to test")
    start_parser.add_argument("--share", type=float, default=0.5, help="share of users who get it (default: 0.5)")
    start_parser.add_argument("--why", default="started by hand", help="reason, stored with the experiment")
    stop_parser = commands.add_parser("stop", help="end the experiment: all users get the same model again")
    stop_parser.add_argument("--promote", action="store_true", help="make the tested model live")
    stop_parser.add_argument("--anyway", action="store_true", help="promote it even if it is not better beyond chance")
    stop_parser.add_argument("--why", default="ended by hand", help="reason, stored with the experiment")
    for command in (start_parser, stop_parser, commands.add_parser("status", help="show the newest experiment")):
        add_json_option(command)
    options = parser.parse_args(arguments)
    if options.command == "status":
        return run_command(status, name="experiment", as_json=options.json, result_name="experiment")
    if options.command == "stop":
        return run_command(
            handle_failures(stop, run_name="experiment"), name="experiment", as_json=options.json,
            result_name="publication_id", promote=options.promote, anyway=options.anyway, why=options.why,
        )  # fmt: skip
    if options.publication_id < 1:
        parser.error("PUBLICATION_ID must be 1 or more")
    if not 0.01 <= options.share <= 0.99:
        parser.error("--share must be between 0.01 and 0.99")
    code = run_command(
        handle_failures(start, run_name="experiment"), name="experiment", as_json=options.json,
        result_name="experiment_id", publication_id=options.publication_id, share=options.share, why=options.why,
    )  # fmt: skip
    # The control and the treatment are published like every day.
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        return code or run_command(recommend, name="recommend")


if __name__ == "__main__":
    sys.exit(run_main(main))
