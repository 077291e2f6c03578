"""Publications as tests look at them, and what makes their runs quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.registry import CANDIDATES, Candidate, Candidates

if TYPE_CHECKING:  # a process of its own keeps the settings of the test that started it
    from tests.conftest import Query

PER_USER, SIMILAR_TRACKS = 10, 5
QUICK_CANDIDATES = {
    Popularity.name: Candidate(Popularity),
    GenrePopularity.name: Candidate(GenrePopularity),
    EASE.name: Candidate(EASE),
}


@contextmanager
def only_candidates(candidates: Candidates) -> Iterator[None]:
    """Let these compete, and no others; afterwards the registry is as it was, its order too."""
    registry: dict[str, Candidate] = CANDIDATES  # type: ignore[assignment]
    before = dict(registry)
    registry.clear()
    registry.update(candidates)
    try:
        yield
    finally:
        registry.clear()
        registry.update(before)


def quick_candidates() -> AbstractContextManager[None]:
    """Let only the quick ones compete, with one setting each; all of them do in the tests of the models."""
    return only_candidates(QUICK_CANDIDATES)


def quick_settings(database: str, data_dir: Path) -> dict[str, str]:
    """The settings of a run that a test waits for."""
    return {
        "DATABASE_URL": database,
        "DATA_DIR": str(data_dir),
        "LOCK_WAIT_SECONDS": "1",
        "RECOMMENDATIONS_PER_USER": str(PER_USER),
        "SIMILAR_TRACKS_PER_TRACK": str(SIMILAR_TRACKS),
        "RETRAIN_SECONDS_PER_MODEL": "60",
        "RETRAIN_SEARCH_SECONDS": "0.001",  # first settings only, and no options
        "CODE_VERSION": "v-test",
    }


def live_recommendations(query: Query) -> dict[int, list[int]]:
    """What each listener is shown, best first; ranks are 1 to N and scores do not rise."""
    lists: dict[int, list[int]] = {}
    last: dict[int, float] = {}
    for user, rank, track, score in query(
        "select user_id, rank, track_id, score from ml.current_recommendations order by user_id, rank"
    ):
        tracks = lists.setdefault(user, [])
        assert rank == len(tracks) + 1
        assert score <= last.get(user, score)
        last[user] = score
        tracks.append(track)
    assert all(len(set(tracks)) == len(tracks) for tracks in lists.values())
    return lists


def live_publication(query: Query) -> tuple[Any, ...] | None:
    """The publication that is live, its model run and that run's model and decision."""
    rows = query(
        "select publication_id, model_run_id, model, decision from ml.current_publication"
        " join ml.model_runs using (model_run_id)"
    )
    return rows[0] if rows else None


def recommendation_tables(query: Query) -> set[str]:
    """Every table there is for a publication, wherever it stands."""
    return {
        f"{schema}.{name}"
        for schema, name in query(
            "select schemaname, tablename from pg_tables where schemaname in ('ml', 'staging')"
            r" and tablename ~ '^(recommendations|similar_tracks)_\d+'"
        )
    }
