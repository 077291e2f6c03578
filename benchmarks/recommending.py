"""Recommending as a whole: trained, scored, audited and published; and how near it comes to the true tastes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
import requests

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, Table, at_least, at_most, shares
from benchmarks.processes import Ran, Show
from benchmarks.source import BASE_DAY, Sizes, mock_api
from core.settings import Settings

HOW = (
    "The steps of `flows.retrain` in order, Great Expectations and Prefect imported, on a world of the mock API that"
    " was ingested before: every candidate is tried, the best judged, trained on everything, everyone scored, the lists"
    " audited and published. Memory is the peak of that process and of the largest trial beside it, added. The true"
    " tastes are the mock's own probabilities, asked for the same listeners and held-out plays as the models, without"
    " what was already played."
)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_LARGEST = Sizes(users=30_000, tracks=40_000, sessions=250_000)
_DENSER = Sizes(users=5_000, tracks=1_000, sessions=200_000)
_LISTENERS_ASKED_OF_TRUTH = 500
_SEED = 0


@dataclass(frozen=True)
class Whole:
    """What a training and publication took, in seconds by step, and what came of it."""

    seconds: Mapping[str, float]
    plays: int
    listeners: int
    tracks: int
    rows: int
    decision: str
    recipe: str
    largest_trial_mb: float
    ndcg: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def measure(bench: Bench) -> Measured:
    """The largest world that is promised something about, and smaller ones for how cost grows."""
    points = [_train_in(bench, _world(bench, _LARGEST, share)) for share in (0.1, 0.3, 1.0)]
    largest, denser = points[-1], _train_in(bench, _world(bench, _DENSER, 1.0))
    memory = largest.peak_bytes / 2**20 + largest.result.largest_trial_mb
    said = (
        f"{largest.result.listeners:,} listeners, {largest.result.tracks:,} tracks, {largest.result.plays:,} pairs; "
        f"{largest.result.recipe}, {largest.result.rows:,} recommendations"
    )
    figures = [
        Figure(
            name="recommending: trained, scored, audited and published",
            number=largest.result.total,
            unit="s",
            target=at_most(180.0),
            measured=said,
            spent=shares(largest.result.seconds),
        ),
        Figure(
            name="recommending: the most memory, training and trial together",
            number=memory,
            unit="MB",
            target=at_most(2_048.0),
            measured=f"{largest.peak_bytes / 2**20:,.0f} MB and {largest.result.largest_trial_mb:,.0f} MB",
        ),
        *_beside_true_tastes("that world", largest.result),
        *_beside_true_tastes("a denser world", denser.result),
    ]
    points.append(denser)
    return Measured(HOW, figures, [_table([point.result for point in points], [p.peak_bytes for p in points])])


def _beside_true_tastes(where: str, whole: Whole) -> list[Figure]:
    if "true tastes" not in whole.ndcg:
        return []
    chosen, truth, popular = (whole.ndcg[name] for name in ("chosen", "true tastes", "popularity"))
    return [
        Figure(
            name=f"recommending: ndcg@20 in {where}, share of what the true tastes give",
            number=chosen / truth,
            unit="",
            target=at_least(0.9),
            measured=f"{chosen:.4f} against {truth:.4f}; popularity {popular:.4f}; {whole.plays / whole.listeners:.0f} "
            f"tracks a listener; {whole.recipe}",
            spent="what so few plays tell of a taste; it comes nearer with more of them",
        )
    ]


def _world(bench: Bench, most: Sizes, share: float) -> Sizes:
    asked = ((most.users, bench.sizes.users), (most.tracks, bench.sizes.tracks), (most.sessions, bench.sizes.sessions))
    return Sizes(*(max(200, int(share * min(pair))) for pair in asked))


def _train_in(bench: Bench, sizes: Sizes) -> Ran[Whole]:
    with mock_api(sizes) as api_url:
        settings = bench.settings(f"recommending_{sizes.users}_{sizes.sessions}", api_url)
        bench.show(f"ingesting {sizes}")
        bench.ingest(settings, BASE_DAY)
        return bench.run(bench.show, train_and_publish, settings)


def train_and_publish(show: Show, settings: Settings) -> Whole:
    """The flow's steps, timed one by one, and the truth asked beside them."""
    import expectations.checkpoint  # noqa: F401
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
    from recommender.publishing import model_runs, publication, scoring

    meter = _Meter(show)
    with open_run(settings, load_thresholds(), "retrain", None, utc_now, role=RECOMMENDER) as run:
        lesson_log, end = meter("read", _read, run)
        rules = PromotionSettings(
            limits=TrialLimits(600, 2_048),
            search_seconds=settings.retrain_search_seconds,
            seed=_SEED,
            log_progress=show,
        )
        verdict = meter("try and judge", promotion.decide_promotion, lesson_log, end, None, run.models_dir, rules)
        scorer_model: Any = GenrePopularity()
        if verdict.recipe.personal:
            file = run.models_dir / "benchmark.npz"
            learned = lesson_log.interactions(end, verdict.recipe.weighting)
            meter("train", promotion.train_model, verdict.recipe, learned, rules.limits, file)
            scorer_model = load_model(file)
        marts = meter("read", scoring.read_mart_data, run.connection, utc_now())
        number = model_runs.start_model_run(
            run.connection,
            recipe=verdict.recipe,
            seed=_SEED,
            data_as_of=marts.data_as_of,
            batches=marts.batches,
            code_version="benchmark",
            now=utc_now(),
        )
        scoring_model = scoring.ScoringModel(number, verdict.recipe, scorer_model)
        staged = meter(
            "score and stage",
            scoring.score_and_stage,
            run.connection,
            scoring_model,
            marts,
            settings=settings,
            flow=run.flow,
            clock=utc_now,
        )
        meter("audit", audit_staged, run, staged)
        meter(
            "publish",
            scoring.publish_staged,
            run.connection,
            scoring_model,
            staged,
            marts,
            settings=settings,
            clock=utc_now,
            replacing=publication.newest_live_id(run.connection),
            why="measured",
        )
        rows = publication.publication_size(run.connection, staged)[1]
    models = verdict.metrics.get("models", {})
    ndcg = {"popularity": max((models[n]["ndcg"] for n in POPULARITIES if n in models), default=0.0)}
    if verdict.recipe.model in models:
        show("asking for the true tastes")
        ndcg |= _beside_truth(settings, lesson_log, end, verdict, rules)
    return Whole(
        meter.seconds,
        len(marts.interactions),
        len(marts.interactions.user_ids),
        len(marts.interactions.track_ids),
        rows,
        verdict.decision,
        str(verdict.recipe),
        max((one["peak_memory_mb"] for one in models.values()), default=0.0),
        ndcg,
    )


def _read(run: Any) -> tuple[Any, np.datetime64]:
    from datetime import timedelta

    from recommender.data import mart_reader

    newest = mart_reader.newest_play_time(run.connection, run.clock() + timedelta(days=1))
    if newest is None:
        raise RuntimeError("the world has no plays")
    end = newest.replace(microsecond=0) + timedelta(seconds=1)
    log = mart_reader.read_play_log(run.connection, end, run.settings.retrain_window_days)
    return log, np.datetime64(end.replace(tzinfo=None), "s")


def _beside_truth(settings: Settings, log: Any, end: np.datetime64, verdict: Any, rules: Any) -> dict[str, float]:
    """NDCG of the chosen model and of the true tastes, on the same listeners and held-out plays."""
    from recommender.evaluation import promotion
    from recommender.evaluation.metrics import measure_ranking as measured
    from recommender.evaluation.trials import run_trial
    from recommender.models.base import Ranking
    from recommender.models.registry import CANDIDATES

    exam = promotion.make_evaluation_split(log, end, rules)
    train, holdout = exam.split.train, exam.split.holdout.sample(_LISTENERS_ASKED_OF_TRUTH, _SEED)
    weighed = train if exam.split_at is None else log.interactions(exam.split_at, verdict.recipe.weighting)
    make = CANDIDATES[verdict.recipe.model].model_class
    trial = run_trial(
        make, verdict.recipe.settings, weighed, holdout.users, rules.k, exclude=train, limits=rules.limits
    )
    ids = np.full((len(holdout), rules.k), -1, np.int64)
    played = train.select_users(holdout.users).plays
    for line, user in enumerate(holdout.users):
        mine = train.track_ids[played.indices[played.indptr[line] : played.indptr[line + 1]]]
        asked = {"user_id": int(user), "n": rules.k + len(mine)}
        answer = requests.get(f"{settings.moovitamix_api_url}/_control/truth", params=asked, timeout=60)
        answer.raise_for_status()
        likely = np.array([one["track_id"] for one in answer.json()["tracks"]], np.int64)
        best = likely[~np.isin(likely, mine)][: rules.k]
        ids[line, : len(best)] = best
    truth = Ranking(ids, np.where(ids >= 0, -np.arange(rules.k, dtype=np.float32), -np.inf).astype(np.float32))
    return {
        "chosen": measured(trial.ranking, holdout, train, rules.k).mean_ndcg,
        "true tastes": measured(truth, holdout, train, rules.k).mean_ndcg,
    }


class _Meter:
    """Adds up seconds by step."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self.seconds: dict[str, float] = {}

    def __call__(
        self, step: str, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        self._show(f"recommending: {step}")
        began = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - began


def _table(points: list[Whole], peaks: list[int]) -> Table:
    steps = list(points[-1].seconds)
    header = ["listeners", "tracks", "pairs", *steps, "all (s)", "peak (MB)", "trial (MB)", "of the truth", "chosen"]
    rows = [
        [
            f"{point.listeners:,}",
            f"{point.tracks:,}",
            f"{point.plays:,}",
            *(f"{point.seconds.get(step, 0.0):.1f}" for step in steps),
            f"{point.total:.1f}",
            f"{peak / 2**20:,.0f}",
            f"{point.largest_trial_mb:,.0f}",
            f"{point.ndcg['chosen'] / point.ndcg['true tastes']:.0%}" if "true tastes" in point.ndcg else "-",
            f"{point.decision}: {point.recipe}",
        ]
        for point, peak in zip(points, peaks, strict=True)
    ]
    return Table("Recommending: seconds per step, and memory", header, rows)
