"""Splits: train contains neither held-out pairs nor later plays."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InteractionsError
from recommender.data.interactions import Interactions
from recommender.data.play_log import NegativeFeedback, PlayLog, PlayWeighting
from recommender.evaluation.splitting import DataSplit, Holdout, split_by_time, split_by_user

DAY = np.datetime64("2026-11-01", "s")


def _pairs(interactions: Interactions) -> set[tuple[int, int]]:
    entries = interactions.plays.tocoo()
    rows, columns = entries.coords
    return set(zip(interactions.user_ids[rows].tolist(), interactions.track_ids[columns].tolist(), strict=True))


def _holdout_pairs(holdout: Holdout) -> set[tuple[int, int]]:
    users = np.repeat(holdout.users, holdout.sizes)
    return set(zip(users.tolist(), holdout.tracks.tolist(), strict=True))


def _days(*days: float) -> np.ndarray:
    return DAY + (np.array(days) * 86_400).astype("timedelta64[s]")


def _log(rows: list[tuple[int, int, int, float]], not_useful: NegativeFeedback | None = None) -> PlayLog:
    """Rows of user, track, plays, day."""
    users, tracks, plays, days = zip(*rows, strict=True)
    return PlayLog(
        np.array(users), np.array(tracks), np.array(plays), _days(*days), not_useful=not_useful or NegativeFeedback()
    )


def _random(seed: int = 0, users: int = 200, tracks: int = 50) -> Interactions:
    random = np.random.default_rng(seed)
    return Interactions.from_pairs(random.integers(users, size=2_000), random.integers(tracks, size=2_000))


def test_holdout_has_a_share_of_the_tracks_of_each_user() -> None:
    interactions = Interactions.from_pairs([1] * 10 + [2] * 2 + [3], [*range(10), 0, 1, 0])
    train, holdout = split_by_user(interactions, share=0.2, seed=3)
    assert holdout.users.tolist() == [1, 2]
    assert holdout.sizes.tolist() == [2, 1]
    assert _pairs(train) | _holdout_pairs(holdout) == _pairs(interactions)
    assert not _pairs(train) & _holdout_pairs(holdout)
    assert train.track_ids.tolist() == interactions.track_ids.tolist()


def test_remaining_plays_keep_their_counts() -> None:
    interactions = Interactions.from_pairs([1, 1, 1], [5, 6, 7], [2, 30, 400])
    train, holdout = split_by_user(interactions)
    remaining_plays = dict(zip([5, 6, 7], [2, 30, 400], strict=True))
    del remaining_plays[int(holdout.tracks[0])]
    assert train.plays.data.tolist() == list(remaining_plays.values())


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_training_data_and_holdout_have_at_least_one_track_of_each_user(share: float) -> None:
    train, holdout = split_by_user(Interactions.from_pairs([1, 1, 1, 2], [1, 2, 3, 1]), share=share)
    assert holdout.users.tolist() == [1]
    assert 1 <= holdout.sizes[0] <= 2
    assert len(train) + len(holdout.tracks) == 4


def test_holdout_is_limited_to_the_given_number_of_users() -> None:
    interactions = _random()
    train, holdout = split_by_user(interactions, users=20)
    assert len(holdout) == 20
    assert len(interactions) - len(train) == len(holdout.tracks)


def test_split_depends_only_on_its_seed() -> None:
    interactions = _random()
    first, repeated, train_of_changed = (split_by_user(interactions, seed=seed) for seed in (1, 1, 2))
    assert _holdout_pairs(first.holdout) == _holdout_pairs(repeated.holdout)
    assert _holdout_pairs(first.holdout) != _holdout_pairs(train_of_changed.holdout)


def test_empty_interactions_give_an_empty_split() -> None:
    train, holdout = split_by_user(Interactions.from_pairs([], []))
    assert not len(train)
    assert not len(holdout)


def test_holdout_excludes_users_not_in_train_and_pairs_of_train() -> None:
    train = Interactions.from_pairs([1, 2, 3], [10, 10, 11], known_users=[4])
    test = Interactions.from_pairs([1, 1, 2, 4, 9], [10, 99, 10, 10, 10])
    holdout = Holdout.from_interactions(test, train)
    assert _holdout_pairs(holdout) == {(1, 99)}
    assert holdout.left_out == 2  # user 4 has a row without plays
    assert holdout.repeaters == 1


def test_split_by_time_separates_earlier_and_later_plays() -> None:
    log = _log([(1, 10, 1, 0), (1, 10, 5, 3), (1, 11, 2, 3), (2, 10, 1, 2), (2, 12, 1, 1.99), (3, 10, 1, 5)])
    train, holdout = split_by_time(log, DAY + np.timedelta64(2, "D"))
    assert _pairs(train) == {(1, 10), (2, 12)}
    assert train.plays.data.tolist() == [1, 1]  # not the five plays of day 3
    assert _holdout_pairs(holdout) == {(1, 11), (2, 10)}
    assert holdout.left_out == 1


@pytest.mark.parametrize("seed", range(5))
def test_train_never_contains_later_plays(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = 3_000
    users, tracks, times = (
        random.integers(50, size=rows),
        random.integers(40, size=rows),
        random.integers(10**6, size=rows),
    )
    log = PlayLog(users, tracks, np.ones(rows, np.int64), DAY + times.astype("timedelta64[s]"))
    split_at = DAY + np.timedelta64(int(random.integers(10**6)), "s")
    later = log.played_at >= split_at
    changed = PlayLog(users, np.where(later, 999, tracks), np.where(later, 10**6, log.plays), log.played_at)
    train, holdout = split_by_time(log, split_at)
    assert train.plays.sum() == (~later).sum()
    assert _pairs(train) == set(zip(users[~later].tolist(), tracks[~later].tolist(), strict=True))
    assert not _pairs(train) & _holdout_pairs(holdout)
    train_of_changed = split_by_time(changed, split_at).train
    assert _pairs(train_of_changed) == _pairs(train)
    assert train_of_changed.plays.data.tolist() == train.plays.data.tolist()


def test_weight_halves_after_a_half_life() -> None:
    log = _log([(1, 10, 8, 0), (1, 10, 1, 20), (1, 11, 3, 10)])
    interactions = log.interactions(DAY + np.timedelta64(20, "D"), PlayWeighting(half_life_days=10))
    assert interactions.plays.toarray().tolist() == [[2.0, 1.5]]


def test_very_old_plays_remain_interactions() -> None:
    log = _log([(1, 10, 1, 0), (1, 11, 1, 36_000)])
    interactions = log.interactions(DAY + np.timedelta64(36_001, "D"), PlayWeighting(half_life_days=1))
    assert _pairs(interactions) == {(1, 10), (1, 11)}


def test_not_useful_tracks_are_excluded_after_the_feedback() -> None:
    negative_feedback = NegativeFeedback(np.array([1, 2]), np.array([10, 10]), _days(1, 8))
    log = _log([(1, 10, 8, 0), (1, 11, 1, 0), (2, 10, 1, 0), (2, 12, 1, 6)], negative_feedback)
    split = split_by_time(log, DAY + np.timedelta64(5, "D"), PlayWeighting(without_not_useful=True))
    assert _pairs(split.train) == {(1, 11), (2, 10)}
    assert _holdout_pairs(split.holdout) == {(2, 12)}  # (1, 10) is not held out either, because it was played
    assert _pairs(log.interactions(DAY + np.timedelta64(5, "D"))) == {(1, 10), (1, 11), (2, 10)}


def test_every_play_needs_a_time() -> None:
    with pytest.raises(InteractionsError, match="needs a time"):
        PlayLog(np.array([1]), np.array([1]), np.array([1]), np.array(["NaT"], "datetime64[s]"))


def test_weighting_describes_itself() -> None:
    assert str(PlayWeighting()) == "as played"
    assert str(PlayWeighting(90, without_not_useful=True)) == "half-life 90 days, without not useful"


def test_sample_keeps_all_tracks_of_its_users() -> None:
    split: DataSplit = split_by_user(_random())
    sample = split.holdout.sample(10, seed=0)
    assert len(sample) == 10
    assert _holdout_pairs(sample) <= _holdout_pairs(split.holdout)
    assert split.holdout.sample(10**6, seed=0) is split.holdout
