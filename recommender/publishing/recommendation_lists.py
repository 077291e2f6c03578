"""Recommend to all users in blocks, and fill short recommendation lists with popular tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compute.blocks import IN_PROCESS, BlockJob, BlockRunner
from recommender.data.interactions import Ids, Interactions
from recommender.models.base import LearnedModel, Ranking, Recommender
from recommender.models.diversity import ExposureReranker, candidates_for
from recommender.models.popularity import GenrePopularity

# One thread scores a block: a second or two with 40,000 tracks. The last bits of a score depend on which users share a
# block, so blocks are the same on every machine.
USERS_PER_BLOCK = 1_000
_MAX_GENRE_LENGTH = 200


@dataclass(frozen=True, eq=False)
class UserBlock:
    """Some users with their plays: as they are, and as the model weights them (None: as they are).

    `hidden` are tracks that users do not want to see (None: there are none). `genres` are positions in
    `Scorer.genres`; columns of the matrices are tracks of `Scorer.track_ids`.
    """

    user_ids: Ids
    genres: NDArray[np.int32]
    plays: csr_array
    weighted: csr_array | None
    hidden: csr_array | None = None

    def excluded(self, exclude_seen: bool) -> csr_array | None:
        """The tracks that are not recommended: hidden ones, and played ones if they are excluded."""
        if not exclude_seen or self.hidden is None:
            return self.plays if exclude_seen else self.hidden
        return csr_array(self.plays + self.hidden)


@dataclass(frozen=True, eq=False)
class Scorer:
    """The input of all blocks: the model, the fallback, the catalogue, and the options of the publication.

    It is pickled without what the models derive from the arrays that they have learned.
    """

    model: Recommender
    fallback: GenrePopularity
    track_ids: Ids
    genres: NDArray[np.str_]
    n: int
    exclude_seen: bool

    def recommend(self, block: UserBlock) -> Ranking:
        """The recommendations of one block; the ids of the ranking are columns of `track_ids`, as int32."""
        played = self._interactions(block, block.plays)
        weighted = played if block.weighted is None else self._interactions(block, block.weighted)
        excluded = block.excluded(self.exclude_seen)
        exclude = None if excluded is None else self._interactions(block, excluded)
        model = self.model.with_histories(weighted)
        ranking = model.recommend(block.user_ids, self.n, exclude, threads=1)
        _fill_up(ranking, block.user_ids, self.fallback, played, exclude)
        columns = np.where(np.isfinite(ranking.scores), np.searchsorted(self.track_ids, ranking.ids), -1)
        return Ranking(columns.astype(np.int32), ranking.scores)

    def _interactions(self, block: UserBlock, plays: csr_array) -> Interactions:
        return Interactions(block.user_ids, self.track_ids, plays, self.genres[block.genres])

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_scorer, (
            self.model.learned(),
            self.fallback.learned(),
            self.track_ids,
            self.genres,
            self.n,
            self.exclude_seen,
        )


def _restore_scorer(model: LearnedModel, fallback: LearnedModel, *options: Any) -> Scorer:
    return Scorer(model.restore(), fallback.restore(), *options)  # type: ignore[arg-type]


SCORE_USERS: BlockJob[Scorer, UserBlock, Ranking] = BlockJob("score users", Scorer.recommend)


def recommend_to_all_users(
    model: Recommender,
    fallback: GenrePopularity,
    played: Interactions,
    n: int,
    *,
    exclude_seen: bool,
    weighted: Interactions | None = None,
    hidden: csr_array | None = None,
    reranker: ExposureReranker | None = None,
    seed: int = 0,
    runner: BlockRunner = IN_PROCESS,
    users_per_block: int = USERS_PER_BLOCK,
) -> Iterator[pl.DataFrame]:
    """Yield the recommendations of all users in frames of bounded size: user_id, rank from 1, track_id, score.

    `model` and `fallback` are fitted. `weighted` are the plays as the model weights them, of the same users and tracks;
    by default as they are. `hidden` has the same shape; its tracks are not recommended. A list has n tracks, or all
    available tracks; scores do not increase. The frames do not depend on `runner`, their order may. A `reranker`
    re-ranks the lists, in an order of blocks and users from `seed`. Raises ModelError, ComputeError.
    """
    candidates = n if reranker is None else candidates_for(n, reranker.strength)
    scorer = Scorer(model, fallback, played.track_ids, np.unique(played.genres), candidates, exclude_seen)
    blocks = user_blocks(played, weighted, hidden, users_per_block)
    if reranker is None:
        for number, ranking in runner.run(SCORE_USERS, scorer, blocks):
            yield _as_frame(blocks.users_of(number), Ranking(played.track_ids[ranking.ids], ranking.scores))
        return
    shuffled = _ShuffledBlocks(blocks, np.random.default_rng(seed).permutation(len(blocks)))
    for position, ranking in _in_order(runner.run(SCORE_USERS, scorer, shuffled)):
        number = int(shuffled.numbers[position])
        reranked = reranker.rerank(Ranking(played.track_ids[ranking.ids], ranking.scores), n, seed + number)
        yield _as_frame(blocks.users_of(number), reranked)


def _in_order(results: Iterator[tuple[int, Ranking]]) -> Iterator[tuple[int, Ranking]]:
    """Yield results by position. A result that comes early waits for those before it."""
    waiting: dict[int, Ranking] = {}
    position = 0
    for number, ranking in results:
        waiting[number] = ranking
        while position in waiting:
            yield position, waiting.pop(position)
            position += 1


def user_blocks(
    played: Interactions,
    weighted: Interactions | None = None,
    hidden: csr_array | None = None,
    size: int = USERS_PER_BLOCK,
) -> UserBlocks:
    """Divide users into blocks of `size`, in their order."""
    _, codes = np.unique(played.genres, return_inverse=True)
    return UserBlocks(played, weighted, hidden, codes.astype(np.int32), size)


@dataclass(frozen=True, eq=False)
class UserBlocks(Sequence[UserBlock]):
    """All users in blocks, each made when it is needed."""

    played: Interactions
    weighted: Interactions | None
    hidden: csr_array | None
    genre_codes: NDArray[np.int32]
    size: int

    def __len__(self) -> int:
        return (len(self.played.user_ids) + self.size - 1) // self.size

    def users_of(self, number: int) -> Ids:
        return self.played.user_ids[self._rows_of(number)]

    def _rows_of(self, number: int) -> slice:
        return slice(number * self.size, (number + 1) * self.size)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        rows = self._rows_of(number)
        played = self.played[rows]
        weighted = None if self.weighted is None else self.weighted[rows].plays
        hidden = None if self.hidden is None else self.hidden[rows]
        return UserBlock(played.user_ids, self.genre_codes[rows], played.plays, weighted, hidden)


@dataclass(frozen=True, eq=False)
class _ShuffledBlocks(Sequence[UserBlock]):
    """The blocks in another order: that of `numbers`."""

    blocks: UserBlocks
    numbers: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self.blocks[int(self.numbers[position])]


def fallback_recommendations(fallback: GenrePopularity, catalogue: Ids, n: int) -> pl.DataFrame:
    """Recommend to each favourite genre; the genre '' is all users. Columns: genre, rank from 1, track_id, score.

    A genre of more than 200 characters, too long for the key of the table, has none: its users get those of all users.
    """
    genres = np.array([genre for genre in fallback.genres if len(genre) <= _MAX_GENRE_LENGTH])
    genre_users = Interactions.from_pairs(
        [], [], known_users=np.arange(len(genres)), genres=genres, catalogue=catalogue
    )
    ranking = fallback.fold_in(genre_users).recommend(genre_users.user_ids, n)
    frame = _as_frame(genre_users.user_ids, ranking)
    return frame.select(pl.Series("genre", genres[frame["user_id"].to_numpy()]), "rank", "track_id", "score")


def _fill_up(
    ranking: Ranking, users: Ids, fallback: GenrePopularity, played: Interactions, exclude: Interactions | None
) -> None:
    """Fill empty ranks with tracks of the fallback, whose scores are capped so that scores do not increase."""
    lengths = np.isfinite(ranking.scores).sum(axis=1)
    n = ranking.ids.shape[1]
    short = np.flatnonzero(lengths < n)
    if not len(short):
        return
    # Enough tracks, even if the listed ones are the most popular.
    popular = fallback.with_histories(played).recommend(users[short], n + int(lengths[short].max()), exclude, threads=1)
    is_empty = lengths[short] == 0
    ranking.ids[short[is_empty]] = popular.ids[is_empty, :n]
    ranking.scores[short[is_empty]] = popular.scores[is_empty, :n]
    for popular_row in np.flatnonzero(~is_empty).tolist():
        _append(ranking, int(short[popular_row]), int(lengths[short[popular_row]]), popular, popular_row)


def _append(ranking: Ranking, row: int, length: int, popular: Ranking, popular_row: int) -> None:
    is_new = np.isfinite(popular.scores[popular_row]) & ~np.isin(popular.ids[popular_row], ranking.ids[row, :length])
    tracks, scores = popular.ids[popular_row][is_new], popular.scores[popular_row][is_new]
    ranks = slice(length, min(length + len(tracks), ranking.ids.shape[1]))
    count = ranks.stop - length
    ranking.ids[row, ranks] = tracks[:count]
    ranking.scores[row, ranks] = np.minimum(scores[:count], ranking.scores[row, length - 1])


def _as_frame(users: Ids, ranking: Ranking) -> pl.DataFrame:
    rows, ranks = np.nonzero(np.isfinite(ranking.scores))
    return pl.DataFrame(
        {
            "user_id": users[rows],
            "rank": (ranks + 1).astype(np.int32),
            "track_id": ranking.ids[rows, ranks],
            "score": ranking.scores[rows, ranks].astype(np.float64),
        }
    )
