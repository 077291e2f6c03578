"""The steps of a publication as Prefect tasks: thin wrappers over the functions of `recommender`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from core.audits import ExpectationResult
from core.columns import RECOMMENDATIONS
from core.database import readable_errors
from core.errors import (
    BatchBlocked,
    DatabaseError,
    InteractionsError,
    MoovitamixError,
    PublicationError,
    named_errors,
    summarize_defect,
)
from flows.run import Run
from flows.task_costs import measured
from recommender.data import mart_reader
from recommender.data.interactions import Interactions
from recommender.data.play_log import PlayLog
from recommender.evaluation.promotion import Decision, PromotionDecision
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication, recommendation_lists, retention
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.publication import Publication, PublicationOptions
from recommender.publishing.similar_tracks import similar_tracks


@dataclass(frozen=True, eq=False)
class Marts:
    """What the marts held at one moment: every play (until `end`, not included), and the newest batches."""

    log: PlayLog
    end: np.datetime64
    known: Interactions
    batches: tuple[str, ...]

    @property
    def data_as_of(self) -> datetime:
        """`end` as the ledger writes it down."""
        return mart_reader.in_utc(self.end)


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model that is ready to make lists, and the training it is from.

    `outcome` is what the ledger is told in the moment in which the lists go live, if it was not told before.
    """

    model_run_id: int
    recipe: Recipe
    model: Recommender
    outcome: TrainingOutcome | None = None


@dataclass(frozen=True)
class Published:
    """A list that went live."""

    publication_id: int
    model_run_id: int
    model: str
    listeners: int
    rows: int
    tracks_covered: int
    results: tuple[ExpectationResult, ...]


@dataclass(frozen=True)
class Trained:
    """What a training came to; `published` is None where the champion stayed."""

    model_run_id: int
    verdict: PromotionDecision
    published: Published | None


@task(task_run_name="read-marts", cache_policy=NO_CACHE)
@measured
@named_errors()
def read_marts(run: Run) -> Marts:
    """Every listener, track and play that is there now. Raises InteractionsError when nobody played anything."""
    log = mart_reader.read_plays(run.connection, run.clock())
    end = np.append(log.played_at, np.datetime64(0, "s")).max() + np.timedelta64(1, "s")
    known = log.interactions(end)
    if not len(known):
        raise InteractionsError(
            "there are no plays of users and tracks that are there, so nothing to recommend by; run an ingest first"
        )
    return Marts(log, end, known, tuple(mart_reader.newest_batches(run.connection)))


@task(task_run_name="load-{champion.recipe.model}", cache_policy=NO_CACHE)
@measured
@named_errors()
def load_champion(run: Run, champion: Champion) -> Recommender:
    """What the champion learned. Raises ModelFileError."""
    if champion.recipe.model == Popularity.name:
        return Popularity()
    if champion.recipe.model == GenrePopularity.name:
        return GenrePopularity(**champion.recipe.settings)
    return champion.load(run.models_dir)


@task(task_run_name="make-lists", cache_policy=NO_CACHE)
@measured
@named_errors()
def stage_recommendations(run: Run, scorer: Scorer, marts: Marts) -> Publication:
    """Score every listener, and stage the lists to be audited."""
    settings, known = run.settings, marts.known
    histories = marts.log.interactions(marts.end, scorer.recipe.options)
    model = scorer.model.fold_in(histories) if scorer.recipe.personal else scorer.model.fit(known)
    made = publication.start_publication(
        run.connection,
        model_run_id=scorer.model_run_id,
        flow=run.flow,
        data_as_of=marts.data_as_of,
        batches=marts.batches,
        now=run.clock(),
    )
    everyone = recommendation_lists.recommend_to_all_users(
        model,
        GenrePopularity().fit(known),
        known,
        settings.recommendations_per_user,
        exclude_played=not settings.recommend_played,
    )
    manner = PublicationOptions(
        settings.recommendations_per_user, not settings.recommend_played, scorer.recipe.personal
    )
    similar = similar_tracks(known, settings.similar_tracks_per_track)
    publication.stage_recommendations(run.connection, made, everyone, similar, manner)
    return made


@task(task_run_name="audit-lists", cache_policy=NO_CACHE)
@measured
@named_errors()
def audit_recommendations(run: Run, made: Publication) -> Sequence[ExpectationResult]:
    """Judge the staged lists. Raises BatchBlocked; what was found is kept either way."""
    from expectations.checkpoint import AuditTarget, raise_if_blocked  # imports Great Expectations: seconds

    day = run.clock().date()
    results = run.auditor.audit(AuditTarget(made.batch_id, RECOMMENDATIONS, day, made.lists, made.profile))
    publication.save_audit_results(run.connection, made, results)
    try:
        raise_if_blocked(made.batch_id, results)
    except BatchBlocked as blocked:
        publication.block_publication(run.connection, made, "; ".join(blocked.failures))
        raise
    return results


@task(task_run_name="publish-lists", cache_policy=NO_CACHE)
@measured
@named_errors()
def publish_lists(
    run: Run,
    scorer: Scorer,
    made: Publication,
    marts: Marts,
    results: Sequence[ExpectationResult],
    *,
    replacing: int | None,
    why: str,
) -> Published:
    """Make the lists the live ones, in one transaction; then drop those beyond the retention."""
    fallbacks = recommendation_lists.fallback_recommendations(
        GenrePopularity().fit(marts.known), marts.known.track_ids, run.settings.recommendations_per_user
    )
    publication.attach_partitions(run.connection, made)
    with readable_errors(), run.connection.transaction():
        if scorer.outcome is not None:
            model_runs.record_outcome(run.connection, scorer.model_run_id, scorer.outcome, run.clock())
        publication.publish_recommendations(
            run.connection, made, fallbacks, replacing=replacing, now=run.clock(), why=why
        )
    retention.prune_publications(run.connection, keep=run.settings.publications_kept, now=run.clock())
    retention.prune_model_files(run.connection, run.models_dir, now=run.clock())
    size = publication.publication_size(run.connection, made)
    return Published(made.publication_id, scorer.model_run_id, scorer.recipe.model, *size, tuple(results))


def publish_recommendations(run: Run, scorer: Scorer, marts: Marts, *, replacing: int | None, why: str) -> Published:
    """Lists of a model for everyone: made, audited, live. Raises BatchBlocked, PublicationError, DatabaseError."""
    made = stage_recommendations(run, scorer, marts)
    results = audit_recommendations(run, made)
    try:
        return publish_lists(run, scorer, made, marts, results, replacing=replacing, why=why)
    except PublicationError as error:
        publication.mark_unpublished(run.connection, made, str(error))
        raise


def record_training_failure(
    run: Run, model_run_id: int, recipe: Recipe, error: BaseException, metrics: Mapping[str, Any] | None = None
) -> None:
    """Tell the ledger that nothing came of a training, and why; it stays silent about one that was published."""
    why = str(error) if isinstance(error, MoovitamixError) else summarize_defect(error)
    if not isinstance(error, Exception):  # somebody ended it
        why = "it was cut off: nothing of it was published"
    decision: Decision = "blocked" if isinstance(error, BatchBlocked) else "failed"
    with suppress(DatabaseError):  # the database may be what failed: then the next training closes the entry
        model_runs.record_outcome(
            run.connection, model_run_id, TrainingOutcome(recipe, decision, why, metrics or {}), run.clock()
        )
