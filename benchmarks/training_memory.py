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
from benchmarks.context import NO_SOURCE, BenchmarkContext, migrate_and_connect, url_of
from benchmarks.figures import Figure, Measurement, Table
from benchmarks.processes import Show, peak_bytes
from compute.blocks import IN_PROCESS
from core.clock import utc_now
from core.database import connect
from core.settings import Settings
from core.stores import model_store
from recommender.data import mart_reader
from recommender.evaluation import promotion
from recommender.evaluation.promotion import PromotionSettings
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import POPULARITIES, Recipe
from recommender.models.registry import CANDIDATES
from recommender.publishing import scoring

_SHARES = (0.25, 0.5, 0.75, 1.0)
_SESSIONS, _SESSIONS_PER_USER, _USERS_PER_TRACK = 600_000, 10, 2
# Half of the days are within the window of a training, where each play is a row of its own.
_FIRST, _DAYS, _WINDOW_DAYS = date(2026, 10, 5), 56, 28
_STEPS = ("read", "searched", "staged", "trial")


@dataclass(frozen=True)
class MemoryMeasurement:
    """The pairs and rows of a training, and the peak bytes of its process after each step and of its largest trial."""

    pairs: int
    rows: int
    peaks: dict[str, int]


def measure(context: BenchmarkContext) -> Measurement:
    """Search models on several sizes, each in a fresh process."""
    measured: list[MemoryMeasurement] = []
    for share in _SHARES:
        sessions = max(_DAYS, int(share * min(_SESSIONS, context.sizes.sessions)))
        settings = context.settings(f"training_memory_{sessions}", NO_SOURCE)
        context.run(_fill, settings, sessions)
        measured.append(context.run(search, settings).result)
    pairs = [size.pairs for size in measured]
    slope = _slope(pairs, [size.peaks["staged"] + size.peaks["trial"] for size in measured])
    slopes = (f"{step} {_slope(pairs, [size.peaks[step] for size in measured]):.0f}" for step in _STEPS)
    figure = Figure(
        "training memory: bytes per pair, training and trial together",
        slope,
        f"{2**30 / slope:,.0f} pairs per GB; slope from {pairs[0]:,} to {pairs[-1]:,} pairs,"
        f" {measured[-1].rows / pairs[-1]:.2f} rows a pair",
        unit="bytes",
        at_most=150.0,
        breakdown=f"{', '.join(slopes)}; a model's own memory is extra",
    )
    rows = [
        f"{size.pairs:,} | {size.rows:,} | {' | '.join(f'{size.peaks[step] / 2**20:,.0f}' for step in _STEPS)}"
        for size in measured
    ]
    header = f"pairs | rows | {' | '.join(_STEPS)}"
    return Measurement([figure], [Table("Training memory: peaks in MB after each step", header, rows)])


def search(show: Show, settings: Settings) -> MemoryMeasurement:
    """Read the plays, search the popularity models with all weightings, and stage recommendations of all users."""
    end = datetime.combine(_FIRST + timedelta(_DAYS), time())
    with connect(url_of(settings)) as connection:
        log = mart_reader.read_play_log(connection, end.replace(tzinfo=UTC), _WINDOW_DAYS)
        peaks = {"read": peak_bytes()}
        candidates = {name: CANDIDATES[name] for name in POPULARITIES}
        rules = PromotionSettings(window_days=_WINDOW_DAYS, log_progress=show)
        moment = np.datetime64(end, "s")
        decision = promotion.decide_promotion(log, moment, None, model_store(settings), rules, candidates)
        peaks["searched"] = peak_bytes()
        marts, recipe = scoring.read_mart_data(connection, utc_now()), Recipe(GenrePopularity.name)
        model_run_id = sample_data.start_model_run(connection, recipe, marts.data_as_of, marts.batches)
        model = scoring.ScoringModel(model_run_id, recipe, GenrePopularity())
        scoring.score_and_stage(
            connection, model, marts, settings=settings, flow="benchmark", clock=utc_now, runner=IN_PROCESS
        )
        peaks["staged"] = peak_bytes()
    largest = max(model["peak_memory_mb"] for model in decision.metrics["models"].values())
    return MemoryMeasurement(len(marts.interactions), len(log.users), peaks | {"trial": int(largest * 2**20)})


def _fill(show: Show, settings: Settings, sessions: int) -> None:
    users = max(2, sessions // _SESSIONS_PER_USER)
    tracks = max(2, users // _USERS_PER_TRACK)
    show(f"generating {sessions:,} sessions")
    with migrate_and_connect(settings) as connection:
        connection.execute("select setseed(0)")
        sample_data.insert_catalogue(connection, users, tracks)
        sample_data.publish_sessions(connection, users, tracks, _FIRST, [sessions // _DAYS] * _DAYS)
        connection.execute("vacuum analyze")


def _slope(pairs: Sequence[int], amounts: Sequence[int]) -> float:
    return float(np.polynomial.Polynomial.fit(pairs, amounts, 1).convert().coef[1])
