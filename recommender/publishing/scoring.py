"""Score all users, stage their recommendations, and publish them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy.sparse import csr_array

from compute.blocks import BlockRunner
from core.audits import ExpectationResult
from core.clock import Clock
from core.database import Connection, readable_errors
from core.errors import InteractionsError
from core.file_store import FileStore
from core.settings import Settings
from recommender.data import mart_reader
from recommender.data.interactions import Ids, Interactions
from recommender.data.play_log import AS_PLAYED, PlayLog
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.models.diversity import ExposureReranker
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication, recommendation_lists, retention
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.publication import Publication, PublicationOptions, Treatment
from recommender.publishing.reasons import with_reasons
from recommender.publishing.similar_tracks import similar_tracks


@dataclass(frozen=True, eq=False)
class MartData:
    """The plays of the marts before `end`, as a log and as interactions, and the newest batches.

    `hidden` has the tracks that users have hidden, in the shape of the interactions; None if there are none.
    """

    log: PlayLog
    end: np.datetime64
    interactions: Interactions
    batches: tuple[str, ...]
    hidden: csr_array | None = None

    @property
    def data_as_of(self) -> datetime:
        """`end` in UTC."""
        return mart_reader.in_utc(self.end)


@dataclass(frozen=True, eq=False)
class ScoringModel:
    """A fitted model and its model run.

    `outcome` is the outcome of the model run, if it is to be recorded in the transaction that publishes.
    """

    model_run_id: int
    recipe: Recipe
    model: Recommender
    outcome: TrainingOutcome | None = None


@dataclass(frozen=True)
class PublishedRecommendations:
    """A publication that is live, with its size and its audit results."""

    publication_id: int
    model_run_id: int
    model: str
    users: int
    rows: int
    tracks_covered: int
    results: tuple[ExpectationResult, ...]


def read_mart_data(connection: Connection, now: datetime) -> MartData:
    """Read all users, tracks and plays. Raises InteractionsError when there are no plays, DatabaseError."""
    log = mart_reader.read_plays(connection, now)
    end = np.append(log.played_at, np.datetime64(0, "s")).max() + np.timedelta64(1, "s")
    interactions = log.interactions(end)
    if not len(interactions):
        raise InteractionsError(
            "there are no plays of current users and tracks, so there is nothing to learn from; run an ingest first"
        )
    hidden = mart_reader.read_hidden_tracks(connection).matrix(interactions)
    return MartData(log, end, interactions, tuple(mart_reader.newest_batches(connection)), hidden)


def load_champion_model(champion: Champion, models: FileStore) -> Recommender:
    """Return the champion's fitted model; popularity models are fitted later.

    Raises ModelFileError, ObjectStoreError.
    """
    if champion.recipe.model == Popularity.name:
        return Popularity()
    if champion.recipe.model == GenrePopularity.name:
        return GenrePopularity(**champion.recipe.settings)
    return champion.load(models)


def reranker_of(settings: Settings, track_ids: Ids) -> ExposureReranker | None:
    """The re-ranking of RECOMMENDATION_DIVERSITY; None if it is 0."""
    strength = settings.recommendation_diversity
    return ExposureReranker(strength, track_ids) if strength else None


def score_and_stage(
    connection: Connection,
    scoring_model: ScoringModel,
    data: MartData,
    *,
    settings: Settings,
    flow: str,
    clock: Clock,
    runner: BlockRunner,
) -> Publication:
    """Score all users and stage their recommendations for the audit. Raises ModelError, ComputeError, DatabaseError.

    One transaction stages all blocks, so a publication has all of them, each once, or stages nothing.
    """
    recipe, interactions = scoring_model.recipe, data.interactions
    model, weighted = scoring_model.model, None
    if not recipe.is_personalised:
        model = model.fit(interactions)
    elif recipe.weighting != AS_PLAYED:
        weighted = data.log.interactions(data.end, recipe.weighting)
    staged = publication.start_publication(
        connection,
        model_run_id=scoring_model.model_run_id,
        flow=flow,
        data_as_of=data.data_as_of,
        batches=data.batches,
        now=clock(),
    )
    exclude_seen = not settings.recommend_played
    recommendations = recommendation_lists.recommend_to_all_users(
        model,
        GenrePopularity().fit(interactions),
        interactions,
        settings.recommendations_per_user,
        exclude_seen=exclude_seen,
        weighted=weighted,
        hidden=data.hidden,
        reranker=reranker_of(settings, interactions.track_ids),
        runner=runner,
    )
    options = PublicationOptions(settings.recommendations_per_user, exclude_seen, recipe.is_personalised)
    similar = similar_tracks(interactions, settings.similar_tracks_per_track)
    recommendations = with_reasons(recommendations, similar, interactions)
    publication.stage_recommendations(connection, staged, recommendations, similar, options)
    publication.save_popular_tracks(connection, staged, data.data_as_of)
    return staged


def publish_staged(
    connection: Connection,
    scoring_model: ScoringModel,
    staged: Publication,
    data: MartData,
    *,
    settings: Settings,
    clock: Clock,
    replacing: int | None,
    why: str,
    treatment: Treatment | None = None,
) -> None:
    """Make staged recommendations live, in one transaction with the outcome of their model run.

    Those of a `treatment` are served beside them. Raises PublicationError when another publication went live meanwhile,
    DatabaseError.
    """
    fallbacks = recommendation_lists.fallback_recommendations(
        GenrePopularity().fit(data.interactions), data.interactions.track_ids, settings.recommendations_per_user
    )
    for attached in [staged, *([treatment.publication] if treatment else [])]:
        publication.attach_partitions(connection, attached)
    with readable_errors(), connection.transaction():
        if scoring_model.outcome is not None:
            model_runs.record_outcome(connection, scoring_model.model_run_id, scoring_model.outcome, clock())
        publication.publish_recommendations(
            connection, staged, fallbacks, replacing=replacing, now=clock(), why=why, treatment=treatment
        )


def prune_old_publications(connection: Connection, models: FileStore, *, keep: int, clock: Clock) -> None:
    """Drop publications beyond the newest `keep`, and model files that none of them needs. Raises DatabaseError."""
    retention.prune_publications(connection, keep=keep, now=clock())
    retention.prune_model_files(connection, models, now=clock())


def describe_publication(
    connection: Connection, scoring_model: ScoringModel, staged: Publication, results: Sequence[ExpectationResult]
) -> PublishedRecommendations:
    """Return a publication with its size. Raises DatabaseError."""
    users, rows, tracks = publication.publication_size(connection, staged)
    return PublishedRecommendations(
        staged.publication_id,
        scoring_model.model_run_id,
        scoring_model.recipe.model,
        users,
        rows,
        tracks,
        tuple(results),
    )
