"""The share of useful answers: one vote a listener, and neither one key nor one track moves it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from recommender.monitoring.usefulness import FEEDBACK_COLUMNS, share_of_useful

# What one key or one track may move the share by, once it is known what is usual.
A_LITTLE = 0.02
USUAL = 0.6
LISTENERS = 200


class Answer(NamedTuple):
    """In the order of FEEDBACK_COLUMNS."""

    user: int
    track: int
    key: str
    useful: int
    usual: float = 0.0
    publication: int = 1


def frame(answers: Iterable[Answer]) -> pl.DataFrame:
    return pl.DataFrame(list(answers), schema=dict(FEEDBACK_COLUMNS), orient="row")


def share(answers: Iterable[Answer], usual: float | None = USUAL) -> float:
    found = share_of_useful(frame(answers), usual)
    assert found
    assert 0 <= found.lower <= found.share <= found.upper <= 1
    return found.share


def honest(
    useful: float = USUAL, keys: int = 1, listeners: int = LISTENERS, each: int = 2, seed: int = 0
) -> list[Answer]:
    """Listeners of apps with a key each, which bring as many as they usually do, and who answer about any track."""
    random = np.random.default_rng(seed)
    return [
        Answer(user, int(track), f"app{user % keys}", int(random.random() < useful), listeners / keys)
        for user in range(listeners)
        for track in random.choice(np.arange(1, 301), each, replace=False)
    ]


def test_a_day_without_answers_has_no_share() -> None:
    assert share_of_useful(frame([]), USUAL) is None
    assert share_of_useful(frame([]), None) is None


def test_each_listener_counts_once_with_the_mean_of_their_answers() -> None:
    answers = [Answer(1, 1, "a", 1), Answer(1, 2, "a", 0), Answer(1, 3, "a", 0)]
    answers += [Answer(2, track, "a", 1) for track in (1, 2, 3)]
    assert share(answers, None) == pytest.approx((1 / 3 + 1) / 2)


def test_a_track_counts_once_for_a_listener_however_many_lists_it_was_on() -> None:
    answers = [Answer(1, 1, "a", 1, publication=publication) for publication in (1, 2, 3)] + [Answer(1, 2, "a", 0)]
    assert share(answers, None) == pytest.approx(1 / 2)


def test_a_listener_of_two_apps_counts_once() -> None:
    answers = [Answer(1, 1, "a", 1), Answer(1, 2, "b", 1), Answer(2, 1, "a", 0), Answer(3, 2, "a", 0)]
    assert share(answers, None) == pytest.approx(1 / 3)


def test_bounds_by_hand() -> None:
    """Of four listeners of equal weight, one is content: the standard error of the weighted mean is
    sqrt(sum (w (x - mean))^2) / sum w."""
    found = share_of_useful(frame(Answer(user, user, "a", int(user == 1)) for user in range(1, 5)), None)
    assert found
    error = np.sqrt((3 / 4) ** 2 + 3 * (1 / 4) ** 2) / 4
    assert (found.share, found.effective_users) == (0.25, 4)
    assert found.lower == max(0, 0.25 - 1.959963984540054 * error)
    assert found.upper == pytest.approx(0.25 + 1.959963984540054 * error)


def test_a_key_counts_at_most_twice_the_listeners_it_usually_has() -> None:
    """App b usually has 10 listeners, and today 90: they count as 20 beside the 60 of app a."""
    calm = [Answer(user, user, "a", 1, 60) for user in range(60)]
    loud = [Answer(100 + user, 100 + user, "b", 0, 10) for user in range(90)]
    assert share([*calm, *loud], None) == pytest.approx(60 / (60 + 20))


def test_a_new_key_counts_at_most_a_fiftieth_of_what_is_usual_for_all() -> None:
    calm = [Answer(user, user, "a", 1, 60) for user in range(60)]
    new = [Answer(100 + user, 100 + user, "b", 0) for user in range(90)]
    assert share([*calm, *new], None) == pytest.approx(60 / (60 + 60 / 50))


def test_while_nobody_knows_what_is_usual_all_count_alike() -> None:
    answers = [Answer(user, user, "b" if user < 90 else "a", int(user >= 90)) for user in range(100)]
    assert share(answers, None) == pytest.approx(0.1)


def test_answers_about_a_track_count_at_most_a_fiftieth_of_all_others() -> None:
    others = [Answer(user, user, "a", 1) for user in range(100)]
    one = [Answer(1000 + user, 999, "a", 0) for user in range(400)]
    assert share([*others, *one], None) == pytest.approx(100 / (100 + 2))


def test_the_protection_says_what_it_left_out() -> None:
    broken = [Answer(1000 + user, 1 + user % 300, "app-of-old", 0, LISTENERS / 2) for user in range(LISTENERS // 2)]
    found = share_of_useful(frame([*honest(), *broken]), USUAL)
    assert found
    assert found.left_out == "the answers of key app-of-old, 33% of all"
    assert found.effective_users == LISTENERS


def test_what_moves_it_no_more_than_chance_is_not_left_out() -> None:
    spam = [Answer(1000 + user, 1 + user % 300, "new", 0) for user in range(10 * LISTENERS)]
    found = share_of_useful(frame([*honest(), *spam]), USUAL)
    assert found
    assert found.left_out == ""


def test_a_key_that_says_the_opposite_of_everything_changes_little() -> None:
    """What it tells stands beside what the app has told: it does not overwrite it."""
    calm = honest()
    against = [one._replace(key="new", useful=1 - one.useful, usual=0.0) for one in calm]
    assert abs(share([*calm, *against]) - share(calm)) < A_LITTLE


def test_hundreds_who_hardly_count_are_no_hundreds() -> None:
    """A key that takes the place of another: until it is known, the few of the old one are all that is heard."""
    rotated = [Answer(user, 1 + user % 300, "new", int(user % 10 < 7)) for user in range(300)]
    old = [Answer(1000 + user, 1 + user % 300, "app", int(user % 10 < 4), 10) for user in range(10)]
    found = share_of_useful(frame([*rotated, *old]), USUAL)
    assert found
    assert found.effective_users < 15


@pytest.mark.parametrize("says", [0, 1])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("keys", [1, 3])
class TestSpamWithHistory:
    """It moves the share by less than 0.02 from what it would have been."""

    def moved(self, calm: list[Answer], spam: list[Answer]) -> float:
        return abs(share([*calm, *spam]) - share(calm))

    def test_from_a_new_key_by_other_listeners(self, says: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [Answer(1000 + user, 1 + user % 300, "new", says) for user in range(10 * LISTENERS)]
        assert self.moved(calm, spam) < A_LITTLE

    def test_from_a_new_key_by_the_same_listeners_about_all_that_they_are_shown(
        self, says: int, seed: int, keys: int
    ) -> None:
        calm = honest(seed=seed, keys=keys)
        said = {(answer.user, answer.track) for answer in calm}
        spam = [
            Answer(user, track, "new", says)
            for user in range(LISTENERS)
            for track in range(1, 51)
            if (user, track) not in said
        ]
        assert self.moved(calm, spam) < A_LITTLE

    def test_from_a_new_key_about_many_publications(self, says: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [
            Answer(user, 1 + (user + number) % 300, "new", says, publication=2 + number)
            for user in range(LISTENERS)
            for number in range(13)
        ]
        assert self.moved(calm, spam) < A_LITTLE

    def test_for_one_track_by_thousands(self, says: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [Answer(1000 + user, 7, f"app{user % keys}", says, LISTENERS / keys) for user in range(5000)]
        assert self.moved(calm, spam) < A_LITTLE

    def test_for_one_track_by_the_same_listeners(self, says: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [
            Answer(user, 999, f"app{user % keys}", says, LISTENERS / keys, publication)
            for user in range(LISTENERS)
            for publication in range(1, 14)
        ]
        assert self.moved(calm, spam) < A_LITTLE


@pytest.mark.parametrize("fall", [0.1, 0.4])
@pytest.mark.parametrize("keys", [1, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_a_fall_of_all_is_seen_in_full(fall: float, keys: int, seed: int) -> None:
    """What is left out takes little of it, and what is left out on usual days as much."""
    before = share(honest(keys=keys, seed=seed, listeners=1000))
    after = share(honest(USUAL - fall, keys=keys, seed=seed, listeners=1000))
    truly = share(honest(USUAL - fall, keys=keys, seed=seed, listeners=1000), None)
    assert after == pytest.approx(truly, abs=A_LITTLE)
    assert before - after == pytest.approx(fall, abs=3 * A_LITTLE)


def test_a_key_with_half_of_the_answers_is_no_odd_one_out() -> None:
    """One of two apps fell, as large as the other: nobody can say which of them is right."""
    answers = [Answer(user, user, f"app{user % 2}", user % 2, 50) for user in range(100)]
    assert share(answers, usual=0.9) == pytest.approx(0.5, abs=A_LITTLE)


def test_what_is_left_of_hardly_anybody_is_not_believed() -> None:
    few = [Answer(user, user, "a", 1, 19) for user in range(19)]
    more = [Answer(100 + user, 100 + user, "b", 0, 15) for user in range(15)]
    found = share_of_useful(frame([*few, *more]), 1.0)
    assert found
    assert not found.left_out.startswith("the answers of key")


def test_without_history_nothing_is_left_out() -> None:
    answers = honest(keys=3)
    found = share_of_useful(frame(answers), None)
    assert found
    assert found.left_out == ""
    assert found.effective_users == LISTENERS


def test_the_order_of_answers_does_not_matter() -> None:
    answers = honest(keys=3)
    there, back = share_of_useful(frame(answers), 0.5), share_of_useful(frame(answers[::-1]), 0.5)
    assert there
    assert back
    assert there.share == pytest.approx(back.share, rel=1e-12)
    assert (there.left_out, there.effective_users) == (back.left_out, back.effective_users)


def test_many_answers_about_many_tracks_take_little_time() -> None:
    """The run that judges holds the warehouse lock."""
    random = np.random.default_rng(0)
    answers = frame(
        Answer(user, int(random.integers(5_000)), f"app{user % 4}", int(random.random() < USUAL), 5_000)
        for user in range(20_000)
        for _ in range(3)
    )
    begin = time.perf_counter()
    assert share_of_useful(answers, USUAL)
    assert time.perf_counter() - begin < 2
