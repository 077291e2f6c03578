"""Fresh recommendations in the metrics of a day: each track counts by the list that the user saw."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from recommender.monitoring import daily_quality, quality_monitor
from recommender.publishing import retention
from tests.integration.monitor.test_values import BEST, GAIN, approximately
from tests.integration.monitor.world import (
    NOW,
    Connection,
    add_feedback,
    add_plays,
    at,
    create_publication,
    evaluate_due_days,
    go_live,
    insert_batch,
    measure,
    show_fresh,
    values,
)

# The history is kept for two weeks.
SOON = at(5)


def publish(connection: Connection, lists: dict[int, list[int]], number: int = 0, hour: float = 0) -> int:
    publication = create_publication(connection, lists)
    go_live(connection, publication, at(number, hour))
    return publication


def ndcg(connection: Connection, number: int = 0) -> float:
    return values(measure(connection, number, now=SOON))["ndcg@20"]


def history(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select user_id, track_ids from ml.fresh_recommendation_history order by history_id"
    ).fetchall()


def test_each_session_counts_by_the_list_at_its_start(connection: Connection) -> None:
    """Track 1 is second in the published list, track 2 second in that of 10 h, track 3 third in that of 14 h."""
    publication = publish(connection, {1: [50, 1, 51]})
    show_fresh(connection, publication, 1, [50, 2], at(0, 10))
    show_fresh(connection, publication, 1, [50, 51, 3], at(0, 14))
    add_plays(connection, (1, at(0, 9), (1,)), (1, at(0, 12), (2,)), (1, at(0, 15), (3,)))
    assert ndcg(connection) == approximately((GAIN[2] + GAIN[2] + GAIN[3]) / BEST[3])


def test_track_counts_once_by_the_list_of_its_first_session(connection: Connection) -> None:
    publication = publish(connection, {1: [50, 1]})
    show_fresh(connection, publication, 1, [1, 50], at(0, 10))
    add_plays(connection, (1, at(0, 9), (1,)), (1, at(0, 12), (1,)))
    assert ndcg(connection) == approximately(GAIN[2])


def test_list_computed_after_the_start_of_a_session_does_not_count_for_it(connection: Connection) -> None:
    publication = publish(connection, {1: [1]})
    show_fresh(connection, publication, 1, [2], at(0, 12) + timedelta(microseconds=1))
    add_plays(connection, (1, at(0, 12), (1, 2)))
    assert ndcg(connection) == approximately(GAIN[1] / BEST[2])


def test_list_of_the_day_before_counts(connection: Connection) -> None:
    publication = publish(connection, {1: [50]}, -2)
    show_fresh(connection, publication, 1, [1], at(-1))
    add_plays(connection, (1, at(0), (1,)))
    assert ndcg(connection) == 1


def test_removed_fresh_list_shows_the_published_list(connection: Connection) -> None:
    """As after STREAM_FRESH=false, or when an audit deletes the list."""
    publication = publish(connection, {1: [1]})
    show_fresh(connection, publication, 1, [2], at(0, 9))
    show_fresh(connection, publication, 1, [], at(0, 11))
    add_plays(connection, (1, at(0), (1,)))
    assert ndcg(connection) == 1


def test_only_lists_of_the_live_publication_count(connection: Connection) -> None:
    """The second publication goes live at 10 h, and has fresh recommendations from 11 h on. The consumer is down then,
    so it does not remove the lists of the first publication, which are live again after the rollback."""
    first = publish(connection, {1: [1], 2: [50]})
    show_fresh(connection, first, 1, [50, 2], at(0, 9))
    show_fresh(connection, first, 2, [2], at(0, 9))
    second = publish(connection, {1: [3], 2: [50]}, 0, 10)
    show_fresh(connection, second, 1, [50, 51, 4], at(0, 11))
    go_live(connection, first, at(0, 14))
    add_plays(connection, (1, at(0, 10.5), (3,)), (1, at(0, 12), (4,)), (2, at(0, 15), (2,)))
    assert ndcg(connection) == approximately(((GAIN[1] + GAIN[3]) / BEST[2] + 1) / 2)


def test_clock_that_was_ahead_does_not_hide_newer_lists(connection: Connection) -> None:
    publication = publish(connection, {1: [50]})
    show_fresh(connection, publication, 1, [2], at(0, 11))
    show_fresh(connection, publication, 1, [1], at(0, 10))
    add_plays(connection, (1, at(0), (1,)))
    assert ndcg(connection) == 1


def test_user_without_published_list_counts_from_the_first_fresh_list(connection: Connection) -> None:
    """Earlier plays of user 2, who then saw popular tracks, do not count."""
    publication = publish(connection, {1: [1]})
    show_fresh(connection, publication, 2, [3], at(0, 10))
    add_plays(connection, (1, at(0), (1,)), (2, at(0, 9), (2,)), (2, at(0), (3,)), (3, at(0), (3,)))

    quality = measure(connection, 0, now=SOON)

    measured = quality["ndcg@20"]
    assert measured
    assert (measured.value, measured.users) == (1, 2)
    assert values(quality)["without_list"] == approximately(1 / 3)


def test_user_value_is_at_most_1(connection: Connection) -> None:
    publication = publish(connection, {1: [1]})
    show_fresh(connection, publication, 1, [2], at(0, 10))
    add_plays(connection, (1, at(0, 9), (1,)), (1, at(0), (2,)))
    assert ndcg(connection) == 1


def test_only_the_first_k_ranks_of_a_fresh_list_count(connection: Connection) -> None:
    publication = publish(connection, {1: [50]})
    show_fresh(connection, publication, 1, [1, 2, 3], at(0, 10))
    add_plays(connection, (1, at(0), (2, 3)))
    assert values(measure(connection, 0, k=2, now=SOON))["ndcg@2"] == approximately(GAIN[2] / BEST[2])


def test_answer_about_a_fresh_recommendation_counts(connection: Connection) -> None:
    """Track 3 was recommended to user 1 only after the answer, and track 4 never."""
    publication = publish(connection, {1: [1], 2: [1]})
    show_fresh(connection, publication, 1, [2], at(0, 10))
    show_fresh(connection, publication, 1, [3], at(0, 13))
    add_plays(connection, (1, at(0), (1,)))
    for user, track in ((1, 1), (1, 2), (1, 3), (1, 4), (2, 2)):
        add_feedback(connection, user, track, track == 2, at(0, 12), publication=publication)
    assert values(measure(connection, 0, now=SOON))["useful"] == 1 / 2


def test_large_day_is_evaluated_on_a_sample_of_users(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history has about half of nine users with recommendations. Only these count."""
    monkeypatch.setattr(daily_quality, "HISTORY_USERS", 5)
    publication = publish(connection, {user: [1] for user in range(1, 10)})
    connection.execute("update ml.publications set listeners = 9 where publication_id = %s", [publication])
    add_plays(connection, *((user, at(0), (1,)) for user in range(1, 10)))
    for user in range(1, 10):
        add_feedback(connection, user, 1, True, at(0, 13), publication=publication)
    everybody = measure(connection, 0, now=SOON)
    show_fresh(connection, publication, 1, [2], at(0, 10))
    sampled = measure(connection, 0, now=SOON)

    rows = connection.execute(
        "select u from generate_series(1, 9) as u where hashint8extended(u, 0) & 1 = 0"
    ).fetchall()
    assert 0 < len(rows) < 9
    for metric in ("ndcg@20", "useful"):
        before, after = everybody[metric], sampled[metric]
        assert before
        assert after
        assert (before.users, after.users) == (9, len(rows)), metric
    assert values(everybody)["without_list"] == values(sampled)["without_list"] == 0


def test_evaluated_days_are_pruned_and_current_lists_stay(connection: Connection) -> None:
    publication = publish(connection, {1: [1], 2: [1]})
    show_fresh(connection, publication, 1, [2], at(0, 10))
    show_fresh(connection, publication, 1, [3], at(0, 11))
    show_fresh(connection, publication, 1, [4], at(1, 11))
    show_fresh(connection, publication, 2, [2], at(0, 9))
    show_fresh(connection, publication, 2, [], at(0, 10))
    for number in (0, 1, 2):
        add_plays(connection, (1, at(number), (10 + number,)))
        insert_batch(connection, number)
        if number < 2:
            evaluate_due_days(connection, now=SOON)
    assert len(history(connection)) == 5, "answers on day 1 may be about recommendations of day 0"

    assert len(evaluate_due_days(connection, now=SOON)) == 1

    assert history(connection) == [(1, [3]), (1, [4])]
    assert evaluate_due_days(connection, now=SOON) == []
    assert history(connection) == [(1, [3]), (1, [4])]


def test_day_without_its_history_is_not_evaluated(connection: Connection) -> None:
    publication = publish(connection, {1: [1]})
    show_fresh(connection, publication, 1, [2], at(0, 10))
    add_plays(connection, (1, at(0), (1,)))
    late = measure(connection, 0, now=at(0, 0) + daily_quality.HISTORY_AGE + timedelta(seconds=1))
    assert "pruned" in late.not_evaluated_reason


def test_history_of_pruned_publications_is_deleted(copied: Connection) -> None:
    first, second = publish(copied, {1: [1]}), publish(copied, {1: [1]}, 1)
    for publication in (first, second):
        show_fresh(copied, publication, 1, [publication], at(0, 10))

    retention.prune_publications(copied, keep=1, now=NOW)

    assert history(copied) == [(1, [second])]


def test_pruned_history_does_not_change_an_evaluated_day(connection: Connection) -> None:
    publication = publish(connection, {1: [1]})
    add_plays(connection, (1, at(0), (1,)), (1, at(1, 1), (9,)))
    insert_batch(connection, 1)
    evaluate_due_days(connection, now=SOON)
    show_fresh(connection, publication, 1, [2], at(0, 10))
    assert quality_monitor.days_to_evaluate(connection, SOON) == []
