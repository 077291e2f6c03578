"""Metrics of a day with few users, calculated by hand."""

from __future__ import annotations

from datetime import datetime
from math import log2

import pytest

from tests.integration.monitor.world import (
    Connection,
    add_plays,
    at,
    create_publication,
    go_live,
    measure,
    prune,
    values,
)

BOUNDS = 1.959963984540054
# The gain of a hit at each rank, and the ideal gain of a number of hits.
GAIN = {rank: 1 / log2(rank + 1) for rank in range(1, 21)}
BEST = {hits: sum(GAIN[rank] for rank in range(1, hits + 1)) for hits in range(1, 21)}


def approximately(expected: float) -> object:
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_first_plays_count_by_rank(connection: Connection) -> None:
    """User 1 played ranks 1 and 3 and an unlisted track; user 2 played no recommended track."""
    go_live(connection, create_publication(connection, {1: [1, 2, 3], 2: [4, 5, 6]}, [3, 40, 1]), at(0, 0))
    add_plays(connection, (1, at(0), (1, 3, 50)), (2, at(0), (50, 40)))

    quality = measure(connection, 0)

    assert quality.publication_id == 1
    ndcg = ((GAIN[1] + GAIN[3]) / BEST[3], 0.0)
    popular = ((GAIN[1] + GAIN[3]) / BEST[3], GAIN[2] / BEST[2])
    metrics = values(quality)
    assert metrics["ndcg@20"] == approximately(sum(ndcg) / 2)
    assert metrics["hit@20"] == 1 / 2
    assert metrics["lift@20"] == approximately((ndcg[0] - popular[0] + ndcg[1] - popular[1]) / 2)
    assert metrics["without_list"] == 0


def test_bounds_are_two_standard_errors_and_clipped(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {user: [user, 10 + user] for user in range(1, 5)}), at(0, 0))
    add_plays(connection, *((user, at(0), (user if user < 4 else 60,)) for user in range(1, 5)))

    ndcg = measure(connection, 0)["ndcg@20"]

    assert ndcg
    assert (ndcg.value, ndcg.users, ndcg.upper) == (3 / 4, 4, 1.0)
    assert ndcg.lower == approximately(3 / 4 - BOUNDS * (3 * (1 / 4) ** 2 + (3 / 4) ** 2) ** 0.5 / 3**0.5 / 2)


def test_one_user_has_no_bounds(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1]}), at(0, 0))
    add_plays(connection, (1, at(0), (1,)))
    ndcg = measure(connection, 0)["ndcg@20"]
    assert ndcg
    assert (ndcg.value, ndcg.users, ndcg.lower, ndcg.upper) == (1, 1, None, None)


def test_only_the_first_k_ranks_count(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1, 2, 3]}), at(0, 0))
    add_plays(connection, (1, at(0), (2, 3, 50)))
    assert values(measure(connection, 0, k=2))["ndcg@2"] == approximately(GAIN[2] / BEST[2])


def test_earlier_played_tracks_do_not_count(connection: Connection) -> None:
    """Track 1 was played before the publication went live; track 2 is played twice and counts once."""
    go_live(connection, create_publication(connection, {1: [9, 2], 2: [3]}, [1, 2]), at(0, 0))
    add_plays(connection, (1, at(-3), (1,)), (2, at(-3), (1,)))
    add_plays(connection, (1, at(0), (1, 2)), (1, at(0, 13), (2,)), (2, at(0), (1,)))

    quality = measure(connection, 0)

    ndcg = quality["ndcg@20"]
    assert ndcg
    # User 2 played nothing new and does not count; popularity without track 1 ranks track 2 first.
    assert (ndcg.value, ndcg.users) == (approximately(GAIN[2]), 1)
    assert values(quality)["lift@20"] == approximately(GAIN[2] - GAIN[1])
    assert values(quality)["without_list"] == 0


def test_publications_with_played_tracks_count_all_plays(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [9, 1]}, [1, 2], excludes_played=False), at(0, 0))
    add_plays(connection, (1, at(-3), (1,)))
    add_plays(connection, (1, at(0), (1, 2)))

    metrics = values(measure(connection, 0))

    assert metrics["ndcg@20"] == approximately(GAIN[2] / BEST[2])
    assert metrics["lift@20"] == approximately(GAIN[2] / BEST[2] - 1)


def test_user_counts_for_the_publication_that_was_live_at_the_first_play(connection: Connection) -> None:
    """Publication 1 is live until 10 h, publication 2 until 14 h, then publication 1 again.

    User 1 first plays while 1 is live. The plays at noon and at 15 h do not count: the first live period of 1 is over.
    """
    first = create_publication(connection, {1: [1, 2, 3], 2: [21]})
    second = create_publication(connection, {1: [11, 12, 13], 2: [22]})
    go_live(connection, first, at(0, 0))
    go_live(connection, second, at(0, 10))
    go_live(connection, first, at(0, 14))
    add_plays(connection, (1, at(0, 9), (50, 1)), (1, at(0, 12), (2, 11)), (1, at(0, 15), (3,)))
    add_plays(connection, (2, at(0, 12), (22,)), (2, at(0, 15), (21,)))

    quality = measure(connection, 0)

    ndcg = quality["ndcg@20"]
    assert ndcg
    assert (ndcg.users, ndcg.value) == (2, approximately((GAIN[1] / BEST[2] + 1) / 2))
    assert quality.publication_id == 2  # with equal users, the newer


def test_publication_of_a_day_is_that_of_most_users(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1]}), at(0, 0))
    go_live(connection, create_publication(connection, {1: [1]}), at(0, 13))
    add_plays(connection, (1, at(0), (1,)), (2, at(0), (1,)), (3, at(0, 14), (1,)))
    assert measure(connection, 0).publication_id == 1


def test_plays_before_the_first_publication_do_not_count(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1, 2], 2: [3]}), at(0, 10))
    add_plays(connection, (1, at(0, 9.9), (1,)), (1, at(0, 10), (2,)), (2, at(0, 9), (3,)))

    quality = measure(connection, 0)

    ndcg = quality["ndcg@20"]
    assert ndcg
    assert (ndcg.users, ndcg.value) == (1, approximately(GAIN[2]))
    assert measure(connection, -1).not_evaluated_reason == "no user played anything while recommendations were live"


def test_play_is_not_compared_with_a_publication_that_learned_from_it(connection: Connection) -> None:
    """The publication went live at 8 h by the clock, but learned from plays until 11 h."""
    old = create_publication(connection, {1: [1, 2]})
    go_live(connection, old, at(-1, 0))
    go_live(connection, create_publication(connection, {1: [7, 8]}, data_as_of=at(0, 11)), at(0, 8))
    add_plays(connection, (1, at(0, 9), (1,)), (1, at(0, 11.5), (2,)))

    quality = measure(connection, 0)

    assert quality.publication_id == old
    assert values(quality)["ndcg@20"] == 1  # track 2 was played after the publication ended


@pytest.mark.parametrize(("first", "second"), [(at(-1), at(-2)), (at(0, 8), at(0, 6)), (at(0, 8), at(-1))])
def test_clock_set_back_does_not_hide_the_newest_publication(
    first: datetime, second: datetime, connection: Connection
) -> None:
    go_live(connection, create_publication(connection, {1: [1]}), first)
    go_live(connection, create_publication(connection, {1: [2]}, data_as_of=at(-5)), second)
    add_plays(connection, (1, at(0), (2,)))
    quality = measure(connection, 0)
    assert (quality.publication_id, values(quality)["ndcg@20"]) == (2, 1)


def test_publication_of_a_clock_ahead_counts_from_its_time(connection: Connection) -> None:
    for number, moment in ((1, at(0, 0)), (2, at(400)), (3, at(0, 13))):
        go_live(connection, create_publication(connection, {1: [number], 2: [number]}), moment)
    add_plays(connection, (1, at(0), (1,)), (2, at(0, 14), (3,)))
    assert values(measure(connection, 0))["ndcg@20"] == 1


def test_user_without_recommendations_counts_only_for_without_list(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1]}, [50]), at(0, 0))
    add_plays(connection, (1, at(0), (1,)), *((user, at(0), (50,)) for user in (2, 3, 4)))

    quality = measure(connection, 0)

    ndcg, without = quality["ndcg@20"], quality["without_list"]
    assert ndcg
    assert without
    assert (ndcg.value, ndcg.users) == (1, 1)
    assert (without.value, without.users) == (3 / 4, 4)
    assert without.lower == approximately(3 / 4 - BOUNDS * (3 * (1 / 4) ** 2 + (3 / 4) ** 2) ** 0.5 / 3**0.5 / 2)


def test_day_of_users_without_recommendations_has_only_diagnostic_metrics(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1]}), at(0, 0))
    add_plays(connection, (2, at(0), (50,)))
    metrics = values(measure(connection, 0))
    assert metrics["without_list"] == 1
    assert not {"ndcg@20", "hit@20", "lift@20", "useful"} & metrics.keys()


def test_coverage_novelty_new_tracks_and_age(connection: Connection) -> None:
    """60 tracks, 9 users. The lists have tracks 1, 2 and 3, which 3 users, 1 user and nobody played."""
    go_live(connection, create_publication(connection, {1: [1, 2], 2: [1, 3]}, learned_until=at(-2, 0)), at(0, 0))
    connection.execute("update warehouse.tracks set created_at = %s where id in (50, 51)", [at(-2, 0)])
    connection.execute("update warehouse.tracks set created_at = %s where id = 52", [at(-3, 0)])
    add_plays(connection, (3, at(-1), (1,)), (4, at(-1), (1,)))
    add_plays(connection, (3, at(0), (1, 50, 51, 50)), (5, at(0), (1, 2, 52, 52)))

    metrics = values(measure(connection, 0))

    assert metrics["coverage@20"] == approximately(3 / 60)
    assert metrics["novelty@20"] == approximately((2 * log2(9 / 3) + log2(9 / 1) + log2(9 / 1)) / 4)
    assert metrics["new_tracks"] == 3 / 8
    assert metrics["model_age_days"] == 3


def test_coverage_counts_only_the_first_k_ranks(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1, 2, 3]}), at(0, 0))
    add_plays(connection, (1, at(0), (1,)))
    assert values(measure(connection, 0, k=2))["coverage@2"] == approximately(2 / 60)


def test_later_events_do_not_change_a_day(connection: Connection) -> None:
    """A late evaluation ignores later plays, users and tracks."""
    go_live(connection, create_publication(connection, {1: [1, 2], 2: [2, 3]}, [1, 2]), at(0, 0))
    add_plays(connection, (1, at(0), (1, 50)), (2, at(0), (3,)))
    before = measure(connection, 0)

    add_plays(connection, *((user, at(1, 0), (1, 2, 3)) for user in range(1, 10)))
    for table in ("users", "tracks"):
        connection.execute(f"update warehouse.{table} set removed_at = %s where id = 9", [at(1, 0)])
        connection.execute(
            f"create temporary table more as select * from warehouse.{table} where id = 1;"
            f" update more set id = 1000, created_at = '2024-04-02 00:00'; insert into warehouse.{table} table more;"
            " drop table more"
        )

    assert measure(connection, 0) == before
    assert measure(connection, 1) != before


def test_plays_of_a_removed_session_do_not_count(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1], 2: [2]}), at(0, 0))
    add_plays(connection, (1, at(0), (1,)), (2, at(0), (50,)))
    connection.execute("update warehouse.listen_history set removed_at = '2024-04-01' where user_id = 2")
    ndcg = measure(connection, 0)["ndcg@20"]
    assert ndcg
    assert (ndcg.value, ndcg.users) == (1, 1)


def test_days_begin_at_midnight_in_utc(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1, 2, 3]}), at(-1, 0))
    add_plays(connection, (1, at(-1, 23.99), (1,)), (1, at(0, 0), (2,)), (1, at(1, 0), (3,)))
    connection.execute("set timezone = 'UTC'")
    assert values(measure(connection, 0))["ndcg@20"] == approximately(GAIN[2])


def test_pruned_publication_has_no_metrics(connection: Connection) -> None:
    go_live(connection, create_publication(connection, {1: [1]}), at(0, 0))
    go_live(connection, create_publication(connection, {2: [1]}), at(0, 13))
    prune(connection, 1)
    add_plays(connection, (1, at(0), (1,)), (2, at(0, 14), (1,)))
    quality = measure(connection, 0)
    assert quality.not_evaluated_reason == (
        "the recommendations of this day were pruned; raise PUBLICATIONS_KEPT, or run the monitor every day"
    )
    assert quality.metrics == ()
