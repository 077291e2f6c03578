"""Which answers count: one vote per listener, track and publication, about what was on their list."""

from __future__ import annotations

import pytest

from core.frames import read_frame
from recommender.monitoring.daily_quality import DayMetric
from recommender.monitoring.usefulness import FEEDBACK_COLUMNS
from tests.integration.monitor.world import Connection, answer, at, day, go_live, make, measure, play, prune

LISTS = {user: [user, 10 + user, 20 + user] for user in range(1, 6)}


@pytest.fixture
def asked(connection: Connection) -> Connection:
    """Publication 1 is live since day 0, with lists for users 1 to 5; somebody plays on day 1."""
    go_live(connection, make(connection, LISTS), at(0, 0))
    play(connection, (1, at(1), (50,)))
    return connection


def useful(connection: Connection, usual: float | None = None) -> DayMetric | None:
    return measure(connection, 1, usual=usual)["useful"]


def counted(connection: Connection) -> list[tuple[int, int]]:
    """Whose answers about what count on day 1."""
    return (
        read_frame(connection, "quality/copy_feedback", FEEDBACK_COLUMNS, {"day": day(1)})
        .select("user_id", "track_id")
        .rows()
    )


def test_day_without_answers_has_no_metric(asked: Connection) -> None:
    assert useful(asked) is None


def test_mean_of_users_is_recorded_for_the_day(asked: Connection) -> None:
    for user, track, word in ((1, 1, True), (1, 11, False), (2, 2, True)):
        answer(asked, user, track, word, at(1))
    answer(asked, 3, 3, False, at(0, 23.9))
    answer(asked, 4, 4, False, at(2, 0))
    found = useful(asked)
    assert found
    assert found.users == 2
    assert counted(asked) == [(1, 1), (1, 11), (2, 2)]


def test_last_answer_counts_on_the_day_of_the_first(asked: Connection) -> None:
    answer(asked, 1, 1, False, at(1), changed=at(5))
    answer(asked, 2, 2, True, at(0), changed=at(1))
    found = useful(asked)
    assert found
    assert (found.value, found.users) == (0, 1)


def test_answers_about_other_tracks_do_not_count(asked: Connection) -> None:
    answer(asked, 1, 2, False, at(1))  # it is on another's
    answer(asked, 9, 1, False, at(1))  # without a list
    answer(asked, 2, 50, False, at(1))  # on nobody's
    assert counted(asked) == []
    assert useful(asked) is None


def test_answers_without_an_existing_publication_do_not_count(asked: Connection) -> None:
    gone = make(asked, LISTS)
    prune(asked, gone)
    answer(asked, 1, 1, False, at(1), publication=None)
    answer(asked, 2, 2, False, at(1), publication=gone)
    assert counted(asked) == []


def test_answers_for_several_publications_count_once(asked: Connection) -> None:
    more = [make(asked, LISTS) for _ in range(3)]
    for publication in (1, *more):
        answer(asked, 1, 1, False, at(1), publication=publication)
    answer(asked, 2, 1 + 1, True, at(1))
    found = useful(asked)
    assert found
    assert found.users == 2
    assert found.value == pytest.approx(1 / 2)


def test_usual_users_of_a_key_are_the_median_of_four_weeks(asked: Connection) -> None:
    """Days without answers are days; two answers of one listener are one; other keys are others."""
    for number in range(-14, 1):  # 15 of the 28 days before
        for user in range(1, 4):
            answer(asked, user, 30 + number + 14, True, at(number))
        answer(asked, 1, 50, True, at(number), publication=make(asked, {}))
    answer(asked, 4, 50, True, at(-28, 0), key="old")
    for user, key in ((1, "app"), (2, "new"), (3, "old")):
        answer(asked, user, user, True, at(1), key=key)

    found = read_frame(asked, "quality/copy_feedback", FEEDBACK_COLUMNS, {"day": day(1)})

    assert dict(found.select("key_id", "usual").rows()) == {"app": 3.0, "new": 0.0, "old": 0.0}


def test_key_with_half_of_the_days_is_new(asked: Connection) -> None:
    for number in range(-12, 1):
        answer(asked, 1, 30 + number + 14, True, at(number))
    answer(asked, 1, 1, True, at(1))
    assert read_frame(asked, "quality/copy_feedback", FEEDBACK_COLUMNS, {"day": day(1)})["usual"].to_list() == [0]
