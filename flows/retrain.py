"""Retrain: train the candidate models, and publish the best if it beats the champion and popularity.

`python -m flows.retrain [--as-of TIME] [--seed N] [--refresh]` runs without a Prefect server. Exit code 0: a promotion
decision was made; 1: none could be made, or the new recommendations failed their audit; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import numpy as np
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from core.clock import clock_of
from core.database import take_training_lock, warehouse_lock
from core.dates import parse_time
from core.errors import InteractionsError, PublicationError, UsageError, named_errors
from core.exit_codes import run_main
from core.roles import RECOMMENDER
from core.settings import Settings, load_settings
from core.tracebacks import keep_logs_readable
from core.version import code_version
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.events import notify_alarms_answered
from flows.failures import handle_failures
from flows.json_results import add_json_option
from flows.recommendation_tasks import TrainingResult, read_marts, record_training_failure, stage_audit_and_publish
from flows.run import Run, open_run
from flows.state_messages import ends_with
from flows.task_costs import measured
from flows.training_reports import describe_training, print_training, show_training
from recommender.data import mart_reader
from recommender.data.play_log import AS_PLAYED, SHORT_MEMORY, PlayLog
from recommender.evaluation import promotion
from recommender.evaluation.promotion import PromotionDecision, PromotionSettings
from recommender.evaluation.trials import TrialLimits
from recommender.models import file_format
from recommender.models.champion import Champion
from recommender.models.model_file import ModelFile
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import Recipe
from recommender.monitoring import quality_monitor
from recommender.publishing import model_runs
from recommender.publishing.model_runs import TrainingCause, TrainingOutcome
from recommender.publishing.scoring import PublishedRecommendations, ScoringModel

Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The plays before `end`, and the champion. `end` is at most one second after the newest play."""

    log: PlayLog
    end: np.datetime64
    batches: tuple[str, ...]
    champion: Champion | None


class Degradation(BaseModel):
    """A drift alarm to answer: the payload of the event `moovitamix.recommendations.degraded`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alarm_id: int
    metric: str
    value: float
    baseline: float
    statistic: float
    publication_id: int
    day: date


@flow(name="retrain", flow_run_name="retrain", validate_parameters=False)
@ends_with(describe_training)
@handle_failures
def retrain(
    as_of: datetime | None = None, seed: Seed = 0, degradation: Degradation | None = None, refresh: bool = False
) -> TrainingResult | None:
    """Train the candidate models, and publish the best if it beats the champion and popularity.

    Args:
        as_of: Use plays before this time only (UTC if it has no zone). Default: now.
        seed: Seed of random numbers. The same seed and plays give the same decision.
        degradation: The drift alarm to answer. If it is answered already, nothing happens and the result is None.
        refresh: The champion is old: a challenger that is as good may replace it.

    Raises InteractionsError if there are no plays, BatchBlocked if the new recommendations fail their audit,
    PublicationError if another publication went live meanwhile.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    with open_run(
        settings,
        thresholds,
        "retrain",
        None,
        clock_of(settings),
        role=RECOMMENDER,
        take_lock=take_training_lock,
    ) as run:
        moment = _in_utc(as_of, run.clock())
        cause = _cause(run, moment, degradation, refresh)
        if cause is None:
            return None
        training_data = read_training_data(run, moment)
        model_run_id = _start(run, training_data, seed, cause)
        decision: PromotionDecision | None = None
        try:
            decision = search_models(run, training_data, seed, cause)
            published = _publish(run, model_run_id, decision, training_data) if decision.publishes else None
            if published is None:
                model_runs.record_outcome(run.connection, model_run_id, outcome_of(decision), run.clock())
        except BaseException as error:
            live_model = training_data.champion.recipe.model if training_data.champion else GenrePopularity.name
            recipe, metrics = (decision.recipe, decision.metrics) if decision else (Recipe(live_model), {})
            record_training_failure(run, model_run_id, recipe, error, metrics)
            raise
        run.outcome = decision.decision
        training = TrainingResult(model_run_id, decision, published)
        show_training(training, run.docs, settings.data_docs_web_url)
        print_training(training)
        notify_alarms_answered(quality_monitor.alarms_answered_by(run.connection, model_run_id), decision.why)
        return training


@task(task_run_name="read-training-data", cache_policy=NO_CACHE)
@ends_with(lambda data: f"{len(data.log.users):,} rows of plays until {data.end} UTC")
@measured
@named_errors()
def read_training_data(run: Run, as_of: datetime) -> TrainingData:
    """Read the plays before `as_of`, and the champion. Raises InteractionsError if there are no plays."""
    newest = mart_reader.newest_play_time(run.connection, as_of)
    if newest is None:
        raise InteractionsError(f"there are no plays before {as_of:%Y-%m-%d %H:%M} UTC; run an ingest first")
    end = newest.replace(microsecond=0) + timedelta(seconds=1)
    log = mart_reader.read_play_log(run.connection, min(as_of, end), run.settings.retrain_window_days)
    batches = tuple(mart_reader.newest_batches(run.connection))
    return TrainingData(
        log, np.datetime64(end.replace(tzinfo=None), "s"), batches, model_runs.find_champion(run.connection)
    )


@task(task_run_name="search-models", cache_policy=NO_CACHE)
@ends_with(lambda decision: f"{decision.decision}: {decision.why}")
@measured
@named_errors()
def search_models(run: Run, training_data: TrainingData, seed: int, cause: TrainingCause) -> PromotionDecision:
    """Fit the candidates, each in its own process, and compare the best with the champion and popularity."""
    promotion_settings = PromotionSettings(
        k=run.settings.retrain_evaluated_at,
        seed=seed,
        window_days=run.settings.retrain_window_days,
        users=_evaluation_users(run.settings, cause),
        confidence=run.settings.retrain_confidence,
        weighting=SHORT_MEMORY if cause == "degradation" else AS_PLAYED,
        refresh_margin=run.settings.retrain_refresh_margin if cause == "age" else None,
        limits=_limits(run),
        diversity=run.settings.recommendation_diversity,
        search_trials=run.settings.retrain_search_trials,
        search_seconds=run.settings.retrain_search_seconds,
        log_progress=get_run_logger().info,
        blocks=run.ensure_block_runner(),
    )
    return promotion.decide_promotion(
        training_data.log, training_data.end, training_data.champion, run.models, promotion_settings
    )


@task(task_run_name="train-{decision.recipe.model}", cache_policy=NO_CACHE)
@ends_with(lambda file: f"saved as {file.name}" if file else "popularity has no file")
@measured
@named_errors()
def train_winner(
    run: Run, model_run_id: int, decision: PromotionDecision, training_data: TrainingData
) -> ModelFile | None:
    """Train the winner on all data, and return its file; None for popularity, which has none. Raises ModelError."""
    if not decision.recipe.is_personalised:
        return None
    name = f"model-{model_run_id}.npz"
    interactions = training_data.log.interactions(training_data.end, decision.recipe.weighting)
    with run.models.new_file(name) as path:
        promotion.train_model(decision.recipe, interactions, _limits(run), path)
        digest = file_format.digest(path)
    return ModelFile(name, digest)


def _publish(
    run: Run, model_run_id: int, decision: PromotionDecision, training_data: TrainingData
) -> PublishedRecommendations:
    file = train_winner(run, model_run_id, decision, training_data)
    with warehouse_lock(run.connection, run.settings.lock_wait_seconds):
        # The training may have taken hours: read the current users, tracks and plays.
        champion = model_runs.find_champion(run.connection)
        _refuse_new_champion(champion, training_data.champion)
        marts = read_marts(run)
        model = file.load(run.models) if file else GenrePopularity()
        scorer = ScoringModel(model_run_id, decision.recipe, model, outcome_of(decision, file))
        replacing = champion.live_id if champion else None
        return stage_audit_and_publish(run, scorer, marts, replacing=replacing, why=decision.why)


def _cause(run: Run, as_of: datetime, degradation: Degradation | None, refresh: bool) -> TrainingCause | None:
    """Return the cause of the training; None if it was started for an alarm that is answered already.

    A training answers every drift alarm that is open, whatever started it. An alarm that is raised later, or for a day
    outside the training data, waits for another training.
    """
    alarms = {alarm.alarm_id for alarm in quality_monitor.open_alarms(run.connection) if alarm.day <= as_of.date()}
    if degradation is not None and degradation.alarm_id not in alarms:
        run.outcome = "answered already"
        print(f"alarm {degradation.alarm_id} was answered by another training; nothing to do", flush=True)
        return None
    return "degradation" if alarms else "age" if refresh else "asked"


def _start(run: Run, training_data: TrainingData, seed: int, cause: TrainingCause) -> int:
    model_runs.close_abandoned_model_runs(run.connection, run.clock())
    return model_runs.start_model_run(
        run.connection,
        recipe=training_data.champion.recipe if training_data.champion else Recipe(GenrePopularity.name),
        seed=seed,
        data_as_of=mart_reader.in_utc(training_data.end),
        batches=training_data.batches,
        code_version=code_version(run.settings),
        now=run.clock(),
        cause=cause,
    )


def outcome_of(decision: PromotionDecision, file: ModelFile | None = None) -> TrainingOutcome:
    """Return the outcome to record: the decision, and name and digest of the model's file."""
    name, digest = (file.name, file.digest) if file else (None, None)
    return TrainingOutcome(decision.recipe, decision.decision, decision.why, decision.metrics, name, digest)


def _refuse_new_champion(live: Champion | None, compared: Champion | None) -> None:
    """Raise PublicationError if a model is live that the candidates were not compared with.

    A newer publication of the compared champion is allowed.
    """
    if live is None or (compared is None and not live.recipe.is_personalised):
        return
    if compared is None or live.model_run_id != compared.model_run_id or live.publication_id < compared.publication_id:
        raise PublicationError(
            f"publication {live.publication_id} went live during the training (by a rollback or another run); "
            "the models were not compared with it, so nothing is published; run it again"
        )


def _evaluation_users(settings: Settings, cause: TrainingCause) -> int:
    """Return the number of users of the evaluation. For a drift alarm, few users keep it to the newest days."""
    users = settings.retrain_validation_listeners
    return min(users, settings.monitor_listeners) if cause == "degradation" else users


def _limits(run: Run) -> TrialLimits:
    return TrialLimits(run.settings.retrain_seconds_per_model, run.settings.retrain_memory_mb)


def _in_utc(as_of: datetime | None, now: datetime) -> datetime:
    """Convert to UTC. Raises UsageError if the time is invalid or in the future."""
    if as_of is None:
        return now
    try:
        moment = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"--as-of {as_of.isoformat()} is no time in UTC") from None
    if moment > now:
        raise UsageError(f"--as-of {moment:%Y-%m-%d %H:%M} UTC lies in the future; omit it to use all plays")
    return moment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description=__doc__)
    parser.add_argument("--as-of", type=_moment, help="use plays before this time only, in UTC (default: now)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random numbers (default: 0)")
    parser.add_argument(
        "--refresh", action="store_true", help="let a challenger that is as good replace an old champion"
    )
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if not 0 <= options.seed < 2**32:
        parser.error("--seed must be between 0 and 4294967295")
    return run_command(
        retrain, name="retrain", as_json=options.json, as_of=options.as_of, seed=options.seed, refresh=options.refresh
    )


def _moment(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of the form YYYY-MM-DD[THH:MM]") from None


if __name__ == "__main__":
    sys.exit(run_main(main))
