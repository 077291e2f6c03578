"""Which feedback counts: one vote per user, track and publication, about recommended tracks."""

from __future__ import annotations

import pytest

from recommender.monitoring.daily_quality import DayMetric, read_answers
from tests.integration.monitor.world import (
    Connection,
    add_feedback,
    add_plays,
    at,
    create_publication,
    day,
    go_live,
    measure,
    prune,
)

LISTS = {user: [user, 10 + user, 20 + user] for user in range(1, 6)}


@pytest.fixture
def published(connection: Connection) -> Connection:
    """Publication 1 is live since day 0, with recommendations for users 1 to 5; a user plays on day 1."""
    go_live(connection, create_publication(connection, LISTS), at(0, 0))
    add_plays(connection, (1, at(1), (50,)))
    return connection


def useful(connection: Connection, usual: float | None = None) -> DayMetric | None:
    return measure(connection, 1, usual=usual)["useful"]


def counted(connection: Connection) -> list[tuple[int, int]]:
    """User and track of the feedback that counts on day 1."""
    return read_answers(connection, day(1)).select("user_id", "track_id").rows()


def test_day_without_answers_has_no_metric(published: Connection) -> None:
    assert useful(published) is None


def test_mean_of_users_is_recorded_for_the_day(published: Connection) -> None:
    for user, track, is_useful in ((1, 1, True), (1, 11, False), (2, 2, True)):
        add_feedback(published, user, track, is_useful, at(1))
    add_feedback(published, 3, 3, False, at(0, 23.9))
    add_feedback(published, 4, 4, False, at(2, 0))
    metric = useful(published)
    assert metric
    assert metric.users == 2
    assert counted(published) == [(1, 1), (1, 11), (2, 2)]


def test_last_answer_counts_on_the_day_of_the_first(published: Connection) -> None:
    add_feedback(published, 1, 1, False, at(1), changed=at(5))
    add_feedback(published, 2, 2, True, at(0), changed=at(1))
    metric = useful(published)
    assert metric
    assert (metric.value, metric.users) == (0, 1)


def test_answers_about_other_tracks_do_not_count(published: Connection) -> None:
    add_feedback(published, 1, 2, False, at(1))  # recommended to another user
    add_feedback(published, 9, 1, False, at(1))  # without recommendations
    add_feedback(published, 2, 50, False, at(1))  # recommended to nobody
    assert counted(published) == []
    assert useful(published) is None


def test_answers_without_an_existing_publication_do_not_count(published: Connection) -> None:
    pruned = create_publication(published, LISTS)
    prune(published, pruned)
    add_feedback(published, 1, 1, False, at(1), publication=None)
    add_feedback(published, 2, 2, False, at(1), publication=pruned)
    assert counted(published) == []


def test_answers_for_several_publications_count_once(published: Connection) -> None:
    publications = [create_publication(published, LISTS) for _ in range(3)]
    for publication in (1, *publications):
        add_feedback(published, 1, 1, False, at(1), publication=publication)
    add_feedback(published, 2, 1 + 1, True, at(1))
    metric = useful(published)
    assert metric
    assert metric.users == 2
    assert metric.value == pytest.approx(1 / 2)


def test_usual_users_of_a_key_are_the_median_of_four_weeks(published: Connection) -> None:
    """Days without answers count as zero, several answers of a user count once, and keys are separate."""
    for number in range(-14, 1):  # 15 of the 28 previous days
        for user in range(1, 4):
            add_feedback(published, user, 30 + number + 14, True, at(number))
        add_feedback(published, 1, 50, True, at(number), publication=create_publication(published, {}))
    add_feedback(published, 4, 50, True, at(-28, 0), key="old")
    for user, key in ((1, "app"), (2, "new"), (3, "old")):
        add_feedback(published, user, user, True, at(1), key=key)

    metric = read_answers(published, day(1))

    assert dict(metric.select("key_id", "usual").rows()) == {"app": 3.0, "new": 0.0, "old": 0.0}


def test_key_with_half_of_the_days_is_new(published: Connection) -> None:
    for number in range(-12, 1):
        add_feedback(published, 1, 30 + number + 14, True, at(number))
    add_feedback(published, 1, 1, True, at(1))
    assert read_answers(published, day(1))["usual"].to_list() == [0]
