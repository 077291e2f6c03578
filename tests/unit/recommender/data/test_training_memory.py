"""Interactions take little memory, and are bit for bit those of a plain construction."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.data import interactions as interactions_module
from recommender.data.interactions import Interactions
from recommender.data.play_log import NegativeFeedback, PlayLog, PlayWeighting
from recommender.evaluation import splitting
from recommender.evaluation.splitting import Holdout, split_by_time, split_by_user

BEGIN = np.datetime64("2026-01-01", "s")
END = BEGIN + np.timedelta64(300, "D")
WEIGHTINGS = [PlayWeighting(), PlayWeighting(7), PlayWeighting(90, without_not_useful=True)]
ROWS = 40_000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts at the sizes of these tests."""
    monkeypatch.setattr(interactions_module, "_ROWS_AT_ONCE", 7_000)
    monkeypatch.setattr(splitting, "_USERS_AT_ONCE", 90)


def make_log(*, ordered: bool, named: bool) -> PlayLog:
    random = np.random.default_rng(4)
    users, tracks = random.integers(0, 500, ROWS), random.integers(-50, 300, ROWS)
    order = np.lexsort((tracks, users)) if ordered else np.arange(ROWS)
    is_negative = random.random(ROWS) < 0.05
    dtype = np.int32 if ordered else np.int64
    times = BEGIN + random.integers(0, 300 * 86_400, ROWS).astype("timedelta64[s]")
    feedback = NegativeFeedback(users[is_negative], tracks[is_negative], times[is_negative])
    catalogue = {"known_users": np.arange(500), "catalogue": np.arange(-50, 300)} if named else {}
    plays = random.integers(1, 9, ROWS)
    return PlayLog(
        users[order].astype(dtype),
        tracks[order].astype(dtype),
        plays[order].astype(dtype),
        times[order],
        not_useful=feedback,
        **catalogue,
    )


def plain_interactions(log: PlayLog, rows: np.ndarray, weights: np.ndarray) -> Interactions:
    """The construction before training memory was limited: whole columns of 64 bits, through a coordinate matrix."""
    users, tracks = log.users[rows].astype(np.int64), log.tracks[rows].astype(np.int64)
    user_ids, track_ids = np.union1d(users, log.known_users), np.union1d(tracks, log.catalogue)
    entries = (np.searchsorted(user_ids, users).astype(np.int32), np.searchsorted(track_ids, tracks).astype(np.int32))
    matrix = csr_array((weights.astype(np.float32), entries), shape=(len(user_ids), len(track_ids)))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return Interactions(user_ids, track_ids, matrix, np.zeros(len(user_ids), "<U1"))


def plain_weights(log: PlayLog, rows: np.ndarray, until: np.datetime64, weighting: PlayWeighting) -> np.ndarray:
    weights = log.plays[rows].astype(np.float64)
    if weighting.half_life_days is not None:
        age = (until.astype("datetime64[us]") - log.played_at[rows].astype("datetime64[us]")) / np.timedelta64(1, "s")
        weights = weights * np.maximum(np.exp2(-age / 86_400 / weighting.half_life_days), 1e-6)
    if weighting.without_not_useful:
        earlier = log.not_useful.given_at < until
        negative = set(zip(log.not_useful.users[earlier], log.not_useful.tracks[earlier], strict=True))
        weights *= [pair not in negative for pair in zip(log.users[rows], log.tracks[rows], strict=True)]
    return weights


def assert_same(built: Interactions, plain: Interactions) -> None:
    assert built.user_ids.dtype == built.track_ids.dtype == np.int64
    assert np.array_equal(built.user_ids, plain.user_ids)
    assert np.array_equal(built.track_ids, plain.track_ids)
    for name in ("data", "indices", "indptr"):
        array, expected = getattr(built.plays, name), getattr(plain.plays, name)
        assert array.dtype == expected.dtype
        assert array.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_interactions_are_those_of_the_plain_construction(weighting: PlayWeighting, ordered: bool, named: bool) -> None:
    log = make_log(ordered=ordered, named=named)
    for until in (END, BEGIN + np.timedelta64(150, "D"), BEGIN):
        rows = log.played_at < until
        plain = plain_interactions(log, rows, plain_weights(log, rows, until, weighting))
        assert_same(log.interactions(until, weighting), plain)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_split_by_time_holds_out_the_same_pairs(weighting: PlayWeighting) -> None:
    log = make_log(ordered=True, named=True)
    split_at = BEGIN + np.timedelta64(280, "D")
    train, holdout = split_by_time(log, split_at, weighting)
    before = log.interactions(split_at)
    later = {
        (user, track)
        for user, track, time in zip(log.users.tolist(), log.tracks.tolist(), log.played_at, strict=True)
        if time >= split_at
    }
    rows, columns = before.plays.tocoo().coords
    train_pairs = set(zip(before.user_ids[rows].tolist(), before.track_ids[columns].tolist(), strict=True))
    active = set(before.users_with_plays.tolist())
    users = np.repeat(holdout.users, holdout.sizes).tolist()
    assert list(zip(users, holdout.tracks.tolist(), strict=True)) == sorted(
        pair for pair in later - train_pairs if pair[0] in active
    )
    assert_same(train, log.interactions(split_at, weighting))


def test_split_by_user_draws_the_same_plays_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    interactions = make_log(ordered=True, named=True).interactions(END)
    in_parts = split_by_user(interactions, seed=3)
    monkeypatch.setattr(splitting, "_USERS_AT_ONCE", 10**6)
    at_once = split_by_user(interactions, seed=3)
    assert_same(in_parts.train, at_once.train)
    assert np.array_equal(in_parts.holdout.tracks, at_once.holdout.tracks)


def test_selected_tracks_share_the_plays_or_drop_plays_of_unselected_tracks() -> None:
    interactions = make_log(ordered=True, named=True).interactions(END)
    wider = interactions.select_tracks(np.arange(-60, 310))
    assert np.shares_memory(wider.plays.data, interactions.plays.data)
    assert_same(wider.select_tracks(interactions.track_ids), interactions)
    narrower = interactions.select_tracks(np.arange(-50, 300, 2))
    assert np.array_equal(narrower.plays.toarray(), interactions.plays.toarray()[:, ::2])


def test_memory_of_a_training_is_bounded_per_row() -> None:
    rows, users, tracks = 400_000, 4_000, 1_000
    random = np.random.default_rng(0)
    log = PlayLog(
        np.repeat(np.arange(users, dtype=np.int32), rows // users),
        random.integers(0, tracks, rows, np.int32),
        np.ones(rows, np.int32),
        BEGIN + random.integers(0, 300 * 86_400, rows).astype("timedelta64[s]"),
        known_users=np.arange(users),
        catalogue=np.arange(tracks),
    )
    split_at = END - np.timedelta64(20, "D")
    train = log.interactions(split_at)

    def peak_of(work: Callable[[], object]) -> float:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1] / rows
        finally:
            tracemalloc.stop()

    assert peak_of(lambda: log.interactions(END)) < 40
    assert peak_of(lambda: log.interactions(split_at, PlayWeighting(30))) < 45
    assert peak_of(lambda: Holdout.from_interactions(log.interactions_from(split_at), train)) < 25
    assert peak_of(lambda: split_by_user(train)) < 60
