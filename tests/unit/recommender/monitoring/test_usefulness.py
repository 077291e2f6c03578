"""The share of useful feedback: each user counts once, and neither one key nor one track can move it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from recommender.monitoring.usefulness import FEEDBACK_COLUMNS, share_of_useful

# The limit of how much one key or track may move the share after the first weeks.
A_LITTLE = 0.02
USUAL = 0.6
USERS = 200


class Answer(NamedTuple):
    """One answer, in the order of FEEDBACK_COLUMNS."""

    user: int
    track: int
    key: str
    useful: int
    usual: float = 0.0
    publication: int = 1


def frame(answers: Iterable[Answer]) -> pl.DataFrame:
    return pl.DataFrame(list(answers), schema=dict(FEEDBACK_COLUMNS), orient="row")


def share(answers: Iterable[Answer], usual: float | None = USUAL) -> float:
    usefulness = share_of_useful(frame(answers), usual)
    assert usefulness
    assert 0 <= usefulness.lower <= usefulness.share <= usefulness.upper <= 1
    return usefulness.share


def honest(
    useful: float = USUAL, keys: int = 1, users: int = USERS, answers_per_user: int = 2, seed: int = 0
) -> list[Answer]:
    """Users of apps with one key each and their usual number of users, who answer about random tracks."""
    random = np.random.default_rng(seed)
    return [
        Answer(user, int(track), f"app{user % keys}", int(random.random() < useful), users / keys)
        for user in range(users)
        for track in random.choice(np.arange(1, 301), answers_per_user, replace=False)
    ]


def test_day_without_answers_has_no_share() -> None:
    assert share_of_useful(frame([]), USUAL) is None
    assert share_of_useful(frame([]), None) is None


def test_each_user_counts_once_with_the_mean_of_their_answers() -> None:
    answers = [Answer(1, 1, "a", 1), Answer(1, 2, "a", 0), Answer(1, 3, "a", 0)]
    answers += [Answer(2, track, "a", 1) for track in (1, 2, 3)]
    assert share(answers, None) == pytest.approx((1 / 3 + 1) / 2)


def test_track_counts_once_per_user_across_publications() -> None:
    answers = [Answer(1, 1, "a", 1, publication=publication) for publication in (1, 2, 3)] + [Answer(1, 2, "a", 0)]
    assert share(answers, None) == pytest.approx(1 / 2)


def test_user_of_two_apps_counts_once() -> None:
    answers = [Answer(1, 1, "a", 1), Answer(1, 2, "b", 1), Answer(2, 1, "a", 0), Answer(3, 2, "a", 0)]
    assert share(answers, None) == pytest.approx(1 / 3)


def test_bounds_by_hand() -> None:
    """One of four users of equal weight says useful. The standard error of the weighted mean is
    sqrt(sum (w (x - mean))^2) / sum w."""
    usefulness = share_of_useful(frame(Answer(user, user, "a", int(user == 1)) for user in range(1, 5)), None)
    assert usefulness
    error = np.sqrt((3 / 4) ** 2 + 3 * (1 / 4) ** 2) / 4
    assert (usefulness.share, usefulness.effective_users) == (0.25, 4)
    assert usefulness.lower == max(0, 0.25 - 1.959963984540054 * error)
    assert usefulness.upper == pytest.approx(0.25 + 1.959963984540054 * error)


def test_key_counts_at_most_twice_its_usual_users() -> None:
    """App b usually has 10 users, and today 90: they count as 20 beside the 60 of app a."""
    calm = [Answer(user, user, "a", 1, 60) for user in range(60)]
    loud = [Answer(100 + user, 100 + user, "b", 0, 10) for user in range(90)]
    assert share([*calm, *loud], None) == pytest.approx(60 / (60 + 20))


def test_new_key_counts_at_most_a_fiftieth_of_usual_users() -> None:
    calm = [Answer(user, user, "a", 1, 60) for user in range(60)]
    new = [Answer(100 + user, 100 + user, "b", 0) for user in range(90)]
    assert share([*calm, *new], None) == pytest.approx(60 / (60 + 60 / 50))


def test_all_keys_count_equally_in_the_first_weeks() -> None:
    answers = [Answer(user, user, "b" if user < 90 else "a", int(user >= 90)) for user in range(100)]
    assert share(answers, None) == pytest.approx(0.1)


def test_track_counts_at_most_a_fiftieth_of_all_other_tracks() -> None:
    usual_answers = [Answer(user, user, "a", 1) for user in range(100)]
    about_one_track = [Answer(1000 + user, 999, "a", 0) for user in range(400)]
    assert share([*usual_answers, *about_one_track], None) == pytest.approx(100 / (100 + 2))


def test_exclusion_is_reported() -> None:
    broken = [Answer(1000 + user, 1 + user % 300, "app-of-old", 0, USERS / 2) for user in range(USERS // 2)]
    usefulness = share_of_useful(frame([*honest(), *broken]), USUAL)
    assert usefulness
    assert usefulness.left_out == "the answers of key app-of-old, 33% of all"
    assert usefulness.effective_users == USERS


def test_key_within_chance_is_not_excluded() -> None:
    spam = [Answer(1000 + user, 1 + user % 300, "new", 0) for user in range(10 * USERS)]
    usefulness = share_of_useful(frame([*honest(), *spam]), USUAL)
    assert usefulness
    assert usefulness.left_out == ""


def test_contradicting_key_changes_little() -> None:
    """Its answers count beside the answers of the app, and do not replace them."""
    calm = honest()
    against = [answer._replace(key="new", useful=1 - answer.useful, usual=0.0) for answer in calm]
    assert abs(share([*calm, *against]) - share(calm)) < A_LITTLE


def test_effective_users_are_few_when_many_users_hardly_count() -> None:
    """A key replaces another: until it is established, only the few users of the old key count."""
    rotated = [Answer(user, 1 + user % 300, "new", int(user % 10 < 7)) for user in range(300)]
    old = [Answer(1000 + user, 1 + user % 300, "app", int(user % 10 < 4), 10) for user in range(10)]
    usefulness = share_of_useful(frame([*rotated, *old]), USUAL)
    assert usefulness
    assert usefulness.effective_users < 15


@pytest.mark.parametrize("answer", [0, 1])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("keys", [1, 3])
class TestSpamWithHistory:
    """Spam moves the share by less than 0.02."""

    def moved(self, calm: list[Answer], spam: list[Answer]) -> float:
        return abs(share([*calm, *spam]) - share(calm))

    def test_from_a_new_key_by_other_users(self, answer: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [Answer(1000 + user, 1 + user % 300, "new", answer) for user in range(10 * USERS)]
        assert self.moved(calm, spam) < A_LITTLE

    def test_from_a_new_key_by_the_same_users_about_all_recommended_tracks(
        self, answer: int, seed: int, keys: int
    ) -> None:
        calm = honest(seed=seed, keys=keys)
        answered = {(answer.user, answer.track) for answer in calm}
        spam = [
            Answer(user, track, "new", answer)
            for user in range(USERS)
            for track in range(1, 51)
            if (user, track) not in answered
        ]
        assert self.moved(calm, spam) < A_LITTLE

    def test_from_a_new_key_about_many_publications(self, answer: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [
            Answer(user, 1 + (user + number) % 300, "new", answer, publication=2 + number)
            for user in range(USERS)
            for number in range(13)
        ]
        assert self.moved(calm, spam) < A_LITTLE

    def test_for_one_track_by_thousands(self, answer: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [Answer(1000 + user, 7, f"app{user % keys}", answer, USERS / keys) for user in range(5000)]
        assert self.moved(calm, spam) < A_LITTLE

    def test_for_one_track_by_the_same_users(self, answer: int, seed: int, keys: int) -> None:
        calm = honest(seed=seed, keys=keys)
        spam = [
            Answer(user, 999, f"app{user % keys}", answer, USERS / keys, publication)
            for user in range(USERS)
            for publication in range(1, 14)
        ]
        assert self.moved(calm, spam) < A_LITTLE


@pytest.mark.parametrize("fall", [0.1, 0.4])
@pytest.mark.parametrize("keys", [1, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_general_fall_is_measured_in_full(fall: float, keys: int, seed: int) -> None:
    """The exclusion of outliers takes little from a real fall."""
    before = share(honest(keys=keys, seed=seed, users=1000))
    after = share(honest(USUAL - fall, keys=keys, seed=seed, users=1000))
    truly = share(honest(USUAL - fall, keys=keys, seed=seed, users=1000), None)
    assert after == pytest.approx(truly, abs=A_LITTLE)
    assert before - after == pytest.approx(fall, abs=3 * A_LITTLE)


def test_key_with_half_of_the_answers_is_not_excluded() -> None:
    """One of two equally large apps fell. It is unknown which of them is right."""
    answers = [Answer(user, user, f"app{user % 2}", user % 2, 50) for user in range(100)]
    assert share(answers, usual=0.9) == pytest.approx(0.5, abs=A_LITTLE)


def test_no_exclusion_when_too_few_users_remain() -> None:
    first_answers = [Answer(user, user, "a", 1, 19) for user in range(19)]
    second_answers = [Answer(100 + user, 100 + user, "b", 0, 15) for user in range(15)]
    usefulness = share_of_useful(frame([*first_answers, *second_answers]), 1.0)
    assert usefulness
    assert not usefulness.left_out.startswith("the answers of key")


def test_nothing_is_excluded_without_history() -> None:
    answers = honest(keys=3)
    usefulness = share_of_useful(frame(answers), None)
    assert usefulness
    assert usefulness.left_out == ""
    assert usefulness.effective_users == USERS


def test_the_order_of_answers_does_not_matter() -> None:
    answers = honest(keys=3)
    forwards, backwards = share_of_useful(frame(answers), 0.5), share_of_useful(frame(answers[::-1]), 0.5)
    assert forwards
    assert backwards
    assert forwards.share == pytest.approx(backwards.share, rel=1e-12)
    assert (forwards.left_out, forwards.effective_users) == (backwards.left_out, backwards.effective_users)
