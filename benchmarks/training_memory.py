"""Training memory without the model: bytes per pair of user and track, from the marts to staged recommendations.

The candidates are the popularity models, whose own memory does not grow with pairs. The slope over several sizes
excludes the memory of imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, Table
from benchmarks.processes import Show, peak_bytes
from compute.blocks import IN_PROCESS
from core.clock import utc_now
from core.database import connect, migrate
from core.settings import Settings
from core.stores import model_store
from recommender.data import mart_reader
from recommender.evaluation import promotion
from recommender.evaluation.promotion import PromotionSettings
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import POPULARITIES, Recipe
from recommender.models.registry import CANDIDATES
from recommender.publishing import model_runs, scoring

_SHARES = (0.25, 0.5, 0.75, 1.0)
_SESSIONS, _SESSIONS_PER_USER, _USERS_PER_TRACK = 600_000, 10, 2
# Half of the days are within the window of a training, where each play is a row of its own.
_FIRST, _DAYS, _WINDOW_DAYS = date(2026, 10, 5), 56, 28


@dataclass(frozen=True)
class MemoryMeasurement:
    """The pairs and rows of a training, and the peak bytes of its process after each step and of its largest trial."""

    pairs: int
    rows: int
    read: int
    searched: int
    staged: int
    trial: int

    @property
    def total(self) -> int:
        """Both processes together."""
        return self.staged + self.trial


def measure(context: BenchmarkContext) -> Measurement:
    """Search models on several sizes, each in a fresh process."""
    measured = []
    for share in _SHARES:
        sessions = max(_DAYS, int(share * min(_SESSIONS, context.sizes.sessions)))
        settings = context.settings(f"training_memory_{sessions}", NO_SOURCE)
        context.run(context.show, _fill, settings, sessions)
        measured.append(context.run(context.show, search, settings).result)
    pairs = [size.pairs for size in measured]
    slope = _slope(pairs, [size.total for size in measured])
    figures = [
        Figure(
            "training memory: bytes per pair, training and trial together",
            slope,
            f"{2**30 / slope:,.0f} pairs per GB; slope from {pairs[0]:,} to {pairs[-1]:,} pairs,"
            f" {measured[-1].rows / pairs[-1]:.2f} rows a pair",
            unit="bytes",
            at_most=150.0,
            breakdown=", ".join(
                f"{step} {_slope(pairs, [getattr(size, step) for size in measured]):.0f}"
                for step in ("read", "searched", "staged", "trial")
            )
            + "; a model's own memory is extra",
        )
    ]
    return Measurement(figures, [_table(measured)])


def search(show: Show, settings: Settings) -> MemoryMeasurement:
    """Read the plays, search the popularity models with all weightings, and stage recommendations of all users."""
    end = datetime.combine(_FIRST + timedelta(_DAYS), time())
    with connect(settings.database_url.get_secret_value()) as connection:
        log = mart_reader.read_play_log(connection, end.replace(tzinfo=UTC), _WINDOW_DAYS)
        read = peak_bytes()
        candidates = {name: CANDIDATES[name] for name in POPULARITIES}
        rules = PromotionSettings(window_days=_WINDOW_DAYS, log_progress=show)
        moment = np.datetime64(end, "s")
        decision = promotion.decide_promotion(log, moment, None, model_store(settings), rules, candidates)
        searched = peak_bytes()
        marts = scoring.read_mart_data(connection, utc_now())
        model_run_id = model_runs.start_model_run(
            connection,
            recipe=Recipe(GenrePopularity.name),
            seed=0,
            data_as_of=marts.data_as_of,
            batches=marts.batches,
            code_version="benchmark",
            now=utc_now(),
        )
        model = scoring.ScoringModel(model_run_id, Recipe(GenrePopularity.name), GenrePopularity())
        scoring.score_and_stage(
            connection, model, marts, settings=settings, flow="benchmark", clock=utc_now, runner=IN_PROCESS
        )
    largest = max(model["peak_memory_mb"] for model in decision.metrics["models"].values())
    return MemoryMeasurement(
        len(marts.interactions), len(log.users), read, searched, peak_bytes(), int(largest * 2**20)
    )


def _fill(show: Show, settings: Settings, sessions: int) -> None:
    users = max(2, sessions // _SESSIONS_PER_USER)
    tracks = max(2, users // _USERS_PER_TRACK)
    show(f"generating {sessions:,} sessions")
    url = settings.database_url.get_secret_value()
    migrate(url)
    with connect(url) as connection:
        connection.execute("select setseed(0)")
        sample_data.insert_catalogue(connection, users, tracks)
        sample_data.publish_sessions(connection, users, tracks, _FIRST, [sessions // _DAYS] * _DAYS)
        connection.execute("vacuum analyze")


def _slope(pairs: Sequence[int], amounts: Sequence[int]) -> float:
    return float(np.polynomial.Polynomial.fit(pairs, amounts, 1).convert().coef[1])


def _table(measured: Sequence[MemoryMeasurement]) -> Table:
    rows = [
        f"{size.pairs:,} | {size.rows:,} | {size.read / 2**20:,.0f} | {size.searched / 2**20:,.0f}"
        f" | {size.staged / 2**20:,.0f} | {size.trial / 2**20:,.0f}"
        for size in measured
    ]
    return Table(
        "Training memory: peaks in MB after each step", "pairs | rows | read | searched | staged | trial", rows
    )
