"""Prefect tasks that score, audit and publish recommendations: thin wrappers over functions of `recommender`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from core.audits import ExpectationResult
from core.endpoints import RECOMMENDATIONS
from core.errors import (
    BatchBlocked,
    DatabaseError,
    MoovitamixError,
    PublicationError,
    named_errors,
    summarize_defect,
)
from flows.run import Run
from flows.task_costs import measured
from recommender.evaluation.promotion import Decision, PromotionDecision
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication, scoring
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.publication import Publication
from recommender.publishing.scoring import MartData, PublishedRecommendations, ScoringModel


@dataclass(frozen=True)
class TrainingResult:
    """The decision of a training, and what it published; `published` is None if the champion stayed."""

    model_run_id: int
    decision: PromotionDecision
    published: PublishedRecommendations | None


@task(task_run_name="read-marts", cache_policy=NO_CACHE)
@measured
@named_errors()
def read_marts(run: Run) -> MartData:
    """Read all users, tracks and plays. Raises InteractionsError when there are no plays."""
    return scoring.read_mart_data(run.connection, run.clock())


@task(task_run_name="load-{champion.recipe.model}", cache_policy=NO_CACHE)
@measured
@named_errors()
def load_champion(run: Run, champion: Champion) -> Recommender:
    """Load the champion's model. Raises ModelFileError."""
    return scoring.load_champion_model(champion, run.models_dir)


@task(task_run_name="stage-recommendations", cache_policy=NO_CACHE)
@measured
@named_errors()
def stage_recommendations(run: Run, scoring_model: ScoringModel, data: MartData) -> Publication:
    """Score all users and stage their recommendations for the audit."""
    return scoring.score_and_stage(
        run.connection, scoring_model, data, settings=run.settings, flow=run.flow, clock=run.clock
    )


@task(task_run_name="audit-recommendations", cache_policy=NO_CACHE)
@measured
@named_errors()
def audit_recommendations(run: Run, staged: Publication) -> Sequence[ExpectationResult]:
    """Audit staged recommendations and save the audit results. Raises BatchBlocked."""
    return audit_staged(run, staged)


def audit_staged(run: Run, staged: Publication) -> Sequence[ExpectationResult]:
    """Audit staged recommendations and save the audit results. Raises BatchBlocked, DatabaseError."""
    from expectations.checkpoint import AuditTarget, raise_if_blocked  # imports Great Expectations: seconds

    day = run.clock().date()
    results = run.ensure_auditor().audit(
        AuditTarget(staged.batch_id, RECOMMENDATIONS, day, staged.recommendations_table, staged.profile_table)
    )
    publication.save_audit_results(run.connection, staged, results)
    try:
        raise_if_blocked(staged.batch_id, results)
    except BatchBlocked as blocked:
        publication.block_publication(run.connection, staged, "; ".join(blocked.failures))
        raise
    return results


@task(task_run_name="publish-recommendations", cache_policy=NO_CACHE)
@measured
@named_errors()
def publish_recommendations(
    run: Run,
    scoring_model: ScoringModel,
    staged: Publication,
    data: MartData,
    results: Sequence[ExpectationResult],
    *,
    replacing: int | None,
    why: str,
) -> PublishedRecommendations:
    """Publish staged recommendations in one transaction, then drop publications beyond the retention."""
    settings, connection = run.settings, run.connection
    scoring.publish_staged(
        connection, scoring_model, staged, data, settings=settings, clock=run.clock, replacing=replacing, why=why
    )
    scoring.prune_old_publications(connection, run.models_dir, keep=settings.publications_kept, clock=run.clock)
    return scoring.describe_publication(connection, scoring_model, staged, results)


def stage_audit_and_publish(
    run: Run, scoring_model: ScoringModel, data: MartData, *, replacing: int | None, why: str
) -> PublishedRecommendations:
    """Stage, audit and publish recommendations. Raises BatchBlocked, PublicationError, DatabaseError."""
    staged = stage_recommendations(run, scoring_model, data)
    results = audit_recommendations(run, staged)
    try:
        return publish_recommendations(run, scoring_model, staged, data, results, replacing=replacing, why=why)
    except PublicationError as error:
        publication.mark_unpublished(run.connection, staged, str(error))
        raise


def record_training_failure(
    run: Run, model_run_id: int, recipe: Recipe, error: BaseException, metrics: Mapping[str, Any] | None = None
) -> None:
    """Record that a training published nothing, and why. Does not overwrite an existing outcome."""
    why = str(error) if isinstance(error, MoovitamixError) else summarize_defect(error)
    if not isinstance(error, Exception):  # such as KeyboardInterrupt
        why = "it was interrupted: nothing of it was published"
    decision: Decision = "blocked" if isinstance(error, BatchBlocked) else "failed"
    with suppress(DatabaseError):  # if the database is what failed, the next training closes the model run
        model_runs.record_outcome(
            run.connection, model_run_id, TrainingOutcome(recipe, decision, why, metrics or {}), run.clock()
        )
