"""Queries of publications for tests, and settings that make recommend and retrain runs quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.registry import CANDIDATES, Candidate, Candidates

if TYPE_CHECKING:  # importing conftest would replace the settings of a child process
    from tests.conftest import Query

PER_USER, SIMILAR_TRACKS = 10, 5
QUICK_CANDIDATES = {
    Popularity.name: Candidate(Popularity),
    GenrePopularity.name: Candidate(GenrePopularity),
    EASE.name: Candidate(EASE),
}


@contextmanager
def only_candidates(candidates: Candidates) -> Iterator[None]:
    """Restrict the model search to these candidates for the duration of the block."""
    registry: dict[str, Candidate] = CANDIDATES  # type: ignore[assignment]
    original = dict(registry)
    registry.clear()
    registry.update(candidates)
    try:
        yield
    finally:
        registry.clear()
        registry.update(original)


def quick_candidates() -> AbstractContextManager[None]:
    """Restrict the model search to quick models with one setting each. The tests of the models cover the others."""
    return only_candidates(QUICK_CANDIDATES)


def quick_settings(database: str, data_dir: Path) -> dict[str, str]:
    """Settings with small sizes and short time limits."""
    return {
        "DATABASE_URL": database,
        "DATA_DIR": str(data_dir),
        "LOCK_WAIT_SECONDS": "1",
        "RECOMMENDATIONS_PER_USER": str(PER_USER),
        "SIMILAR_TRACKS_PER_TRACK": str(SIMILAR_TRACKS),
        "RETRAIN_SECONDS_PER_MODEL": "60",
        "RETRAIN_SEARCH_TRIALS": "1",  # tries only the first settings, without options
        "CODE_VERSION": "v-test",
    }


def live_recommendations(query: Query) -> dict[int, list[int]]:
    """The live recommendations of each user, best first. Asserts that ranks are 1 to N and scores descend."""
    recommendations: dict[int, list[int]] = {}
    last_scores: dict[int, float] = {}
    for user, rank, track, score in query(
        "select user_id, rank, track_id, score from ml.current_recommendations order by user_id, rank"
    ):
        tracks = recommendations.setdefault(user, [])
        assert rank == len(tracks) + 1
        assert score <= last_scores.get(user, score)
        last_scores[user] = score
        tracks.append(track)
    assert all(len(set(tracks)) == len(tracks) for tracks in recommendations.values())
    return recommendations


def live_publication(query: Query) -> tuple[Any, ...] | None:
    """The live publication: its id, model run, model and decision; None if there is none."""
    rows = query(
        "select publication_id, model_run_id, model, decision from ml.current_publication"
        " join ml.model_runs using (model_run_id)"
    )
    return rows[0] if rows else None


def recommendation_tables(query: Query) -> set[str]:
    """All tables of publications in `ml` and `staging`."""
    return {
        f"{schema}.{name}"
        for schema, name in query(
            "select schemaname, tablename from pg_tables where schemaname in ('ml', 'staging')"
            r" and tablename ~ '^(recommendations|similar_tracks)_\d+'"
        )
    }
