"""The model of the live publication, as the consumer keeps it in memory. A thread loads it, so that messages are stored
meanwhile.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np

from core.clock import Clock
from core.database import Connection, connect, readable_errors
from core.errors import named_errors
from core.queries import load_query
from core.settings import Settings
from core.stores import model_store
from recommender.data.interactions import Ids
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.models.diversity import ExposureReranker
from recommender.models.popularity import GenrePopularity
from recommender.publishing.scoring import load_champion_model, read_mart_data, reranker_of


@dataclass(frozen=True, eq=False)
class LiveModel:
    """The model of the live publication, and what is known of users and tracks. `end` is when its plays end.

    `catalogue` and `user_ids` ascend; `genres` are the favourite genres of the users. The `reranker` knows how
    often the publication shows each track.
    """

    champion: Champion
    model: Recommender
    popularity: GenrePopularity
    catalogue: Ids
    user_ids: Ids
    genres: np.ndarray[tuple[int], np.dtype[np.str_]]
    end: np.datetime64
    batches: tuple[str, ...]
    excludes_seen: bool
    reranker: ExposureReranker | None = None

    @cached_property
    def tracks(self) -> frozenset[int]:
        """The catalogue as a set."""
        return frozenset(self.catalogue.tolist())


def load_live_model(
    connection: Connection, champion: Champion, batches: tuple[str, ...], settings: Settings, now: datetime
) -> LiveModel:
    """Load the model of the champion. `batches` are the newest ones, read before the call.

    Raises ModelFileError, InteractionsError if there are no plays, DatabaseError.
    """
    model = load_champion_model(champion, model_store(settings))
    data = read_mart_data(connection, now)
    if not champion.recipe.is_personalised:
        model.fit(data.interactions)
    return LiveModel(
        champion,
        model,
        GenrePopularity().fit(data.interactions),
        data.interactions.track_ids,
        data.interactions.user_ids,
        data.interactions.genres,
        data.end,
        batches,
        not settings.recommend_played,
        _reranker(connection, champion, settings, data.interactions.track_ids),
    )


def _reranker(
    connection: Connection, champion: Champion, settings: Settings, catalogue: Ids
) -> ExposureReranker | None:
    reranker = reranker_of(settings, catalogue)
    if reranker is None:
        return None
    values = {"publication_id": champion.publication_id}
    with readable_errors():
        rows = connection.execute(load_query("stream/fresh_recommendations.count_exposures"), values).fetchall()
    exposures = dict(rows)
    return replace(reranker, exposures=np.array([exposures.get(track, 0) for track in catalogue.tolist()], np.float64))


@dataclass
class LiveModelLoader:
    """Loads one model at a time in a thread, with a connection of its own."""

    settings: Settings
    database_url: str
    clock: Clock
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "live-model"))
    _loading: Future[LiveModel] | None = None

    @property
    def is_loading(self) -> bool:
        """Whether `load` was called, and `pop_loaded` did not return its model yet."""
        return self._loading is not None

    def load(self, champion: Champion, batches: tuple[str, ...]) -> None:
        """Start to load a model. `batches` are the newest ones, read before the call."""
        self._loading = self._thread.submit(self._load, champion, batches)

    def pop_loaded(self) -> LiveModel | None:
        """Return the model once, None while it is loading. Raises what `load_live_model` raises."""
        if self._loading is None or not self._loading.done():
            return None
        loaded, self._loading = self._loading, None
        return loaded.result()

    def close(self) -> None:
        """Wait for a model that is loading, and forget it."""
        self._thread.shutdown(cancel_futures=True)

    def _load(self, champion: Champion, batches: tuple[str, ...]) -> LiveModel:
        with named_errors(), connect(self.database_url) as connection:
            return load_live_model(connection, champion, batches, self.settings, self.clock())
