"""Recommending as a whole: trained, scored, audited and published, and compared with the true tastes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import numpy as np
import requests

from benchmarks import sample_data
from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, Table, breakdown
from benchmarks.ingests import StepMeter
from benchmarks.processes import ProcessResult, Show
from benchmarks.source import BASE_DAY, Sizes, mock_api
from core.settings import Settings

_LARGEST = Sizes(users=30_000, tracks=40_000, sessions=250_000)
_DENSER = Sizes(users=5_000, tracks=1_000, sessions=200_000)
_USERS_COMPARED_WITH_TRUTH = 2_000
_SEED = 0
_CHOSEN, _TRUTH, _POPULARITY = "chosen", "true tastes", "popularity"


@dataclass(frozen=True)
class TrainingMeasurement:
    """The seconds by step of a training and publication, its sizes and its outcome."""

    seconds: Mapping[str, float]
    users: int
    tracks: int
    pairs: int
    rows: int
    outcome: str
    largest_trial_mb: float
    ndcg: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def measure(context: BenchmarkContext) -> Measurement:
    """Train on the largest data set that has a target, on two smaller ones, and on a denser one."""
    data_sets = ((_LARGEST, 0.1), (_LARGEST, 0.3), (_LARGEST, 1.0), (_DENSER, 1.0))
    processes = [_train_on(context, largest, share) for largest, share in data_sets]
    largest, denser = processes[-2:]
    training, peak = largest.result, largest.peak_bytes / 2**20
    figures = [
        Figure(
            "recommending: trained, scored, audited and published",
            training.total,
            f"{training.users:,} users, {training.tracks:,} tracks, {training.pairs:,} pairs;"
            f" {training.rows:,} recommendations",
            unit="s",
            at_most=80.0,
            breakdown=breakdown(training.seconds),
        ),
        Figure(
            "recommending: peak memory, training and trial together",
            peak + training.largest_trial_mb,
            f"{peak:,.0f} MB and {training.largest_trial_mb:,.0f} MB",
            unit="MB",
            at_most=2_048.0,
        ),
        *_compare_with_truth("that data set", training, at_least=0.78),
        *_compare_with_truth("a denser data set", denser.result, at_least=0.92),
    ]
    return Measurement(figures, [_table(processes)])


def _compare_with_truth(data_set: str, training: TrainingMeasurement, *, at_least: float) -> list[Figure]:
    if _TRUTH not in training.ndcg:
        return []
    chosen, truth, popularity = (training.ndcg[name] for name in (_CHOSEN, _TRUTH, _POPULARITY))
    tracks = f"{training.pairs / training.users:.0f} tracks a user"
    return [
        Figure(
            f"recommending: ndcg@20 on {data_set}, share of the true tastes",
            chosen / truth,
            f"{chosen:.4f} against {truth:.4f}; popularity {popularity:.4f}; {tracks}",
            at_least=at_least,
            breakdown="few plays reveal little of a taste; with more plays the share rises",
        )
    ]


def _train_on(context: BenchmarkContext, largest: Sizes, share: float) -> ProcessResult[TrainingMeasurement]:
    users, tracks = context.capped(largest.users, largest.tracks)
    counts = (users, tracks, min(context.sizes.sessions, largest.sessions))
    sizes = Sizes(*(max(200, int(share * count)) for count in counts))
    with mock_api(sizes) as api_url:
        settings = context.settings(f"recommending_{sizes.users}_{sizes.sessions}", api_url)
        context.show(f"ingesting {sizes}")
        context.ingest(settings, BASE_DAY)
        return context.run(train_and_publish, settings)


def train_and_publish(show: Show, settings: Settings) -> TrainingMeasurement:
    """Time the steps of the flow one by one, and compare the winner with the true tastes."""
    import expectations.checkpoint  # noqa: F401
    from compute.blocks import IN_PROCESS
    from core.clock import utc_now
    from core.roles import RECOMMENDER
    from expectations.thresholds import load_thresholds
    from flows.recommendation_tasks import audit_staged
    from flows.run import open_run
    from recommender.evaluation import promotion
    from recommender.evaluation.promotion import PromotionSettings
    from recommender.evaluation.trials import TrialLimits
    from recommender.models.popularity import GenrePopularity
    from recommender.models.recipe import POPULARITIES
    from recommender.models.registry import load_model
    from recommender.publishing import publication, scoring

    meter = StepMeter(show)
    with open_run(settings, load_thresholds(), "retrain", None, utc_now, role=RECOMMENDER) as run:
        connection, common = run.connection, {"settings": settings, "clock": utc_now}
        log, end = meter("read", "", _read_play_log, run)
        rules = PromotionSettings(limits=TrialLimits(600, 2_048), seed=_SEED, log_progress=show)
        decision = meter("search", "", promotion.decide_promotion, log, end, None, run.models, rules)
        recipe, model = decision.recipe, cast(Any, GenrePopularity())
        if recipe.is_personalised:
            file, interactions = run.settings.data_dir / "benchmark.npz", log.interactions(end, recipe.weighting)
            meter("train", "", promotion.train_model, recipe, interactions, rules.limits, file)
            model = load_model(file)
        marts = meter("read", "", scoring.read_mart_data, connection, utc_now())
        model_run_id = sample_data.start_model_run(connection, recipe, marts.data_as_of, marts.batches)
        live = scoring.ScoringModel(model_run_id, recipe, model)
        arguments, blocks = (connection, live, marts), {"flow": run.flow, "runner": IN_PROCESS}
        staged = meter("score and stage", "", scoring.score_and_stage, *arguments, **blocks, **common)
        meter("audit", "", audit_staged, run, staged)
        why = {"replacing": publication.newest_live_id(connection), "why": "measured"}
        meter("publish", "", scoring.publish_staged, connection, live, staged, marts, **why, **common)
        rows = publication.publication_size(connection, staged)[1]
    trials = decision.metrics.get("models", {})
    ndcg = {_POPULARITY: max((trials[name]["ndcg"] for name in POPULARITIES if name in trials), default=0.0)}
    if recipe.model in trials:
        show("comparing with the true tastes")
        ndcg |= _measure_truth(settings, log, end, recipe, rules)
    plays = marts.interactions
    largest = max((trial["peak_memory_mb"] for trial in trials.values()), default=0.0)
    sizes = (len(plays.user_ids), len(plays.track_ids), len(plays), rows)
    return TrainingMeasurement(meter.seconds, *sizes, f"{decision.decision}: {recipe}", largest, ndcg)


def _read_play_log(run: Any) -> tuple[Any, np.datetime64]:
    from recommender.data import mart_reader

    newest = mart_reader.newest_play_time(run.connection, run.clock() + timedelta(days=1))
    if newest is None:
        raise RuntimeError("the data set has no plays")
    end = newest.replace(microsecond=0) + timedelta(seconds=1)
    log = mart_reader.read_play_log(run.connection, end, run.settings.retrain_window_days)
    return log, np.datetime64(end.replace(tzinfo=None), "s")


def _measure_truth(settings: Settings, log: Any, end: np.datetime64, recipe: Any, rules: Any) -> dict[str, float]:
    """NDCG of the chosen model and of the true tastes, for the same users and held-out plays."""
    from recommender.evaluation import promotion
    from recommender.evaluation.metrics import measure_ranking
    from recommender.evaluation.trials import run_trial
    from recommender.models.base import Ranking
    from recommender.models.registry import CANDIDATES

    evaluation = promotion.make_evaluation_split(log, end, rules)
    train, k = evaluation.split.train, rules.k
    holdout = evaluation.split.holdout.sample(_USERS_COMPARED_WITH_TRUTH, _SEED)
    at = evaluation.split_at
    weighted = train if at is None else log.interactions(at, recipe.weighting)
    make = CANDIDATES[recipe.model].model_class
    trial = run_trial(make, recipe.settings, weighted, holdout.users, k, exclude=train, limits=rules.limits)
    ids = np.full((len(holdout), k), -1, np.int64)
    plays = train.select_users(holdout.users).plays
    for row, user in enumerate(holdout.users):
        played = train.track_ids[plays.indices[plays.indptr[row] : plays.indptr[row + 1]]]
        parameters = {"user_id": int(user), "n": k + len(played)}
        response = requests.get(f"{settings.moovitamix_api_url}/_control/truth", params=parameters, timeout=60)
        response.raise_for_status()
        likely = np.array([track["track_id"] for track in response.json()["tracks"]], np.int64)
        best = likely[~np.isin(likely, played)][:k]
        ids[row, : len(best)] = best
    truth = Ranking(ids, np.where(ids >= 0, -np.arange(k, dtype=np.float32), -np.inf).astype(np.float32))
    rankings = {_CHOSEN: trial.ranking, _TRUTH: truth}
    return {name: measure_ranking(ranking, holdout, train, k).mean_ndcg for name, ranking in rankings.items()}


def _table(processes: list[ProcessResult[TrainingMeasurement]]) -> Table:
    steps = list(processes[-1].result.seconds)
    rows = []
    for process in processes:
        training, ndcg = process.result, process.result.ndcg
        seconds = " | ".join(f"{training.seconds.get(step, 0.0):.1f}" for step in steps)
        share = f"{ndcg[_CHOSEN] / ndcg[_TRUTH]:.0%}" if _TRUTH in ndcg else "-"
        rows.append(
            f"{training.users:,} | {training.tracks:,} | {training.pairs:,} | {seconds} | {training.total:.1f}"
            f" | {process.peak_bytes / 2**20:,.0f} | {training.largest_trial_mb:,.0f} | {share} | {training.outcome}"
        )
    titles = ["users", "tracks", "pairs", *steps, "all (s)", "peak (MB)", "trial (MB)", "of the truth", "decision"]
    return Table("Recommending: seconds per step, and memory", " | ".join(titles), rows)
