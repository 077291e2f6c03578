"""Who is asked in a training: the last days, as few of them as give enough listeners."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.play_log import PlayLog
from recommender.training import Rules, set_exam

END = np.datetime64("2024-03-31T01:30:01", "s")


def log_of(*groups: tuple[int, float]) -> PlayLog:
    """So many listeners who played one track 100 days ago, and found another so many days before the end."""
    users, tracks, times = [], [], []
    for listeners, days in groups:
        for _ in range(listeners):
            user = len(users)
            users += [user, user]
            tracks += [1, 2]
            times += [END - np.timedelta64(100, "D"), END - np.timedelta64(int(days * 86_400), "s")]
    return PlayLog(np.array(users), np.array(tracks), np.ones(len(users)), np.array(times, "datetime64[s]"))


@pytest.mark.parametrize(
    ("groups", "days", "asked"),
    [
        (((200, 0.5), (50, 6)), 1, 200),  # enough on the last day
        (((199, 0.5), (50, 6)), 7, 249),  # the fewest days that give enough
        (((130, 0.5), (20, 6), (10, 27)), 28, 160),  # never enough: as many as there are
        (((130, 0.5), (50, 40)), 1, 130),  # what lies before the window does not count; fewer days of equally many
        (((130, 1),), 1, 130),  # the very moment belongs to the exam
        (((130, 1.001),), 2, 130),
    ],
)
def test_the_fewest_days_that_give_enough_listeners(
    groups: tuple[tuple[int, float], ...], days: int, asked: int
) -> None:
    exam = set_exam(log_of(*groups), END, Rules(listeners=200, window_days=28))
    assert exam.split_at == END - np.timedelta64(days, "D")
    assert len(exam.split.held_out) == asked
    assert exam.how.startswith(f"{asked} listeners asked for what they first played in the last {days} day")
    assert exam.how.endswith("days" if days > 1 else "day")


def test_a_shorter_window_looks_no_further() -> None:
    exam = set_exam(log_of((130, 0.5), (150, 6)), END, Rules(listeners=200, window_days=4))
    assert (exam.split_at, len(exam.split.held_out)) == (END - np.timedelta64(1, "D"), 130)


def test_where_time_gives_too_few_tracks_are_held_out_at_random() -> None:
    exam = set_exam(log_of((99, 0.5), (31, 50)), END, Rules(listeners=100))
    assert exam.split_at is None
    assert len(exam.split.held_out) == 130
    assert exam.how == (
        "130 listeners asked for a fifth of their tracks, held out at random, as too few played on both sides of a day"
    )
    again = set_exam(log_of((99, 0.5), (31, 50)), END, Rules(listeners=100))
    assert np.array_equal(exam.split.held_out.tracks, again.split.held_out.tracks)
