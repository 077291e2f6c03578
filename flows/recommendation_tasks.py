"""Prefect tasks that score, audit and publish recommendations: thin wrappers over functions of `recommender`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from core.audits import AuditTarget, ExpectationResult, raise_if_blocked
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
from flows.state_messages import describe_publication, describe_results, ends_with
from flows.task_costs import measured
from recommender.evaluation.promotion import Decision, PromotionDecision
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.models.recipe import Recipe
from recommender.publishing import experiments, model_runs, publication, scoring
from recommender.publishing.experiments import RunningExperiment
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.publication import Publication, Treatment
from recommender.publishing.scoring import MartData, PublishedRecommendations, ScoringModel


@dataclass(frozen=True)
class TrainingResult:
    """The decision of a training, and what it published; `published` is None if the champion stayed."""

    model_run_id: int
    decision: PromotionDecision
    published: PublishedRecommendations | None


@task(task_run_name="read-marts", cache_policy=NO_CACHE)
@ends_with(
    lambda marts: f"{len(marts.log.users):,} pairs of user and track until {marts.data_as_of:%Y-%m-%d %H:%M} UTC"
)
@measured
@named_errors()
def read_marts(run: Run) -> MartData:
    """Read all users, tracks and plays. Raises InteractionsError when there are no plays."""
    return scoring.read_mart_data(run.connection, run.clock())


@task(task_run_name="load-{champion.recipe.model}", cache_policy=NO_CACHE)
@ends_with(lambda model: f"{model.name} loaded")
@measured
@named_errors()
def load_champion(run: Run, champion: Champion) -> Recommender:
    """Load the champion's model. Raises ModelFileError."""
    return scoring.load_champion_model(champion, run.models)


@task(task_run_name="stage-recommendations", cache_policy=NO_CACHE)
@ends_with(lambda staged: f"publication {staged.publication_id} staged")
@measured
@named_errors()
def stage_recommendations(run: Run, scoring_model: ScoringModel, data: MartData) -> Publication:
    """Score all users and stage their recommendations for the audit."""
    return scoring.score_and_stage(
        run.connection,
        scoring_model,
        data,
        settings=run.settings,
        flow=run.flow,
        clock=run.clock,
        runner=run.ensure_block_runner(),
    )


@task(task_run_name="audit-recommendations", cache_policy=NO_CACHE)
@ends_with(describe_results)
@measured
@named_errors()
def audit_recommendations(run: Run, staged: Publication) -> Sequence[ExpectationResult]:
    """Audit staged recommendations and save the audit results. Raises BatchBlocked."""
    return audit_staged(run, staged)


def audit_staged(run: Run, staged: Publication) -> Sequence[ExpectationResult]:
    """Audit staged recommendations and save the audit results. Raises BatchBlocked, DatabaseError."""
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
@ends_with(describe_publication)
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
    treatment: Treatment | None = None,
) -> PublishedRecommendations:
    """Publish staged recommendations in one transaction, then drop publications beyond the retention."""
    settings, connection = run.settings, run.connection
    scoring.publish_staged(
        connection, scoring_model, staged, data,
        settings=settings, clock=run.clock, replacing=replacing, why=why, treatment=treatment,
    )  # fmt: skip
    scoring.prune_old_publications(connection, run.models, keep=settings.publications_kept, clock=run.clock)
    return scoring.describe_publication(connection, scoring_model, staged, results)


def stage_audit_and_publish(
    run: Run,
    scoring_model: ScoringModel,
    data: MartData,
    *,
    replacing: int | None,
    why: str,
    experiment: RunningExperiment | None = None,
) -> PublishedRecommendations:
    """Stage, audit and publish recommendations, with those of the treatment of an `experiment` beside them.

    If the treatment fails, the experiment pauses: all users get the control. Raises BatchBlocked, PublicationError,
    DatabaseError.
    """
    staged = stage_recommendations(run, scoring_model, data)
    results = audit_recommendations(run, staged)
    treatment = None if experiment is None else stage_treatment(run, experiment, data)
    try:
        return publish_recommendations(
            run, scoring_model, staged, data, results, replacing=replacing, why=why, treatment=treatment
        )
    except PublicationError as error:
        for unpublished in [staged, *([treatment.publication] if treatment else [])]:
            publication.mark_unpublished(run.connection, unpublished, str(error))
        raise


def stage_treatment(run: Run, experiment: RunningExperiment, data: MartData) -> Treatment | None:
    """Stage and audit recommendations of the treatment. None if they fail; the experiment records why."""
    try:
        model = load_champion(run, experiment.treatment)
        scoring_model = ScoringModel(experiment.treatment.model_run_id, experiment.treatment.recipe, model)
        staged = stage_recommendations(run, scoring_model, data)
        audit_recommendations(run, staged)
    except DatabaseError:
        raise
    except MoovitamixError as error:
        print(
            f"warning: experiment {experiment.experiment_id} is paused, all users get the control: {error}", flush=True
        )
        experiments.record_pause(run.connection, experiment.experiment_id, str(error))
        return None
    experiments.record_pause(run.connection, experiment.experiment_id, None)
    return Treatment(experiment.experiment_id, staged)


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
