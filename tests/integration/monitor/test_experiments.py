"""Experiments: each user is compared with the list of their variant, and daily metrics are those of the control."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import pytest

from pipeline.retention import prune_experiments
from recommender.monitoring.experiment_looks import newest_look
from recommender.monitoring.experiment_outcomes import ExperimentResult, evaluate_experiment
from tests.integration.monitor.test_values import BEST, GAIN
from tests.integration.monitor.world import (
    Connection,
    add_feedback,
    add_plays,
    at,
    create_publication,
    day,
    evaluate_due_days,
    go_live,
    insert_batch,
    measure,
)

USERS = range(1, 10)
CONTROL, TREATMENT = 1, 2  # publications


@pytest.fixture
def in_treatment(connection: Connection) -> set[int]:
    """The control recommends track 1 first, the treatment track 11. The users who get the treatment of experiment 1."""
    for tracks in ([1, 2], [11, 12]):
        create_publication(connection, dict.fromkeys(USERS, tracks), data_as_of=at(-1))
    go_live(connection, CONTROL, at(0, 0))
    connection.execute("alter table ml.experiments alter experiment_id restart with 1")
    connection.execute(
        "insert into ml.experiments (control_run_id, treatment_run_id, treatment_share, why, started_at)"
        " values (1, 2, 0.5, 'test', %s)",
        [at(0, 0)],
    )
    connection.execute(
        "insert into ml.experiment_publications (live_id, experiment_id, publication_id) values (1, 1, 2)"
    )
    rows = connection.execute(
        "select user_id from unnest(%s::bigint[]) as user_id where hashint8extended(user_id, 1) & 65535 < 32768",
        [list(USERS)],
    ).fetchall()
    users = {user for (user,) in rows}
    assert 0 < len(users) < len(USERS)
    return users


def expose(connection: Connection, users: set[int], in_treatment: set[int], moment: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ml.experiment_exposures values (1, %s, %s, %s, null)",
            [(user, user in in_treatment, moment) for user in users],
        )


def result(connection: Connection) -> ExperimentResult:
    return evaluate_experiment(connection, 1, 0.5, 20)


def test_outcomes_are_by_the_list_of_the_variant(connection: Connection, in_treatment: set[int]) -> None:
    """All play track 11, which only the treatment recommends, and call the first track of their list useful."""
    insert_batch(connection, 1)
    unexposed = min(in_treatment)
    expose(connection, set(USERS) - {unexposed}, in_treatment, at(0, 8))
    add_plays(connection, *((user, at(0), (11, 50)) for user in USERS), (1, at(1), (50,)))
    for user in USERS:
        given = TREATMENT if user in in_treatment else CONTROL
        track = 11 if user in in_treatment else 1
        add_feedback(connection, user, track, user in in_treatment, at(0), publication=given)

    evaluate_due_days(connection)

    outcomes = connection.execute(
        "select user_id, day, ndcg, useful, plays, has_list from ml.experiment_outcomes order by user_id"
    ).fetchall()
    expected_gain = pytest.approx(GAIN[1] / BEST[2])
    assert outcomes == [
        (user, day(0), expected_gain if user in in_treatment else 0, float(user in in_treatment), 2, True)
        for user in USERS
        if user != unexposed
    ]
    compared = result(connection)
    assert compared.ndcg and compared.useful and compared.plays
    assert (compared.ndcg.control, compared.ndcg.treatment) == (0, expected_gain)
    assert (compared.useful.control, compared.useful.treatment) == (0, 1)
    assert compared.ndcg.lower is None  # fewer than 100 users
    assert (compared.control_users, compared.treatment_users) == (len(USERS) - len(in_treatment), len(in_treatment) - 1)
    assert compared.verdict == "undecided"


def test_daily_metrics_are_of_the_control(connection: Connection, in_treatment: set[int]) -> None:
    add_plays(connection, *((user, at(0), (11,)) for user in USERS))
    for user in USERS:
        given = TREATMENT if user in in_treatment else CONTROL
        add_feedback(
            connection, user, 11 if user in in_treatment else 1, user in in_treatment, at(0), publication=given
        )
    quality = measure(connection, 0)
    assert quality.publication_id == CONTROL
    ndcg, useful = quality["ndcg@20"], quality["useful"]
    assert ndcg and useful
    assert (ndcg.value, ndcg.users) == (0, len(USERS) - len(in_treatment))
    assert (useful.value, useful.users) == (0, len(USERS) - len(in_treatment))


def test_users_of_both_variants_count_after_the_promotion(connection: Connection, in_treatment: set[int]) -> None:
    """The publication of the treatment is live since midnight: it is no treatment any more."""
    insert_batch(connection, 2)
    expose(connection, set(USERS), in_treatment, at(0))
    connection.execute("update ml.experiments set ended_at = %s, outcome = 'promoted'", [at(1, 0)])
    go_live(connection, TREATMENT, at(1, 0))
    add_plays(connection, *((user, at(1), (11,)) for user in USERS))
    quality = measure(connection, 1)
    ndcg = quality["ndcg@20"]
    assert ndcg
    assert (quality.publication_id, ndcg.value, ndcg.users) == (TREATMENT, 1, len(USERS))
    evaluate_due_days(connection)
    assert connection.execute("select * from ml.experiment_outcomes").fetchall() == []


def test_evaluated_days_without_plays_count_as_listening_of_zero(
    connection: Connection, in_treatment: set[int]
) -> None:
    """All play two tracks on the first day, nobody on the second, and one user of each variant one on the third."""
    insert_batch(connection, 3)
    expose(connection, set(USERS), in_treatment, at(0))
    in_control = set(USERS) - in_treatment
    later = [(min(group), at(2), (52,)) for group in (in_treatment, in_control)]
    add_plays(connection, *((user, at(0), (50, 51)) for user in USERS), *later)
    evaluate_due_days(connection)
    compared = result(connection)
    assert compared.plays
    assert compared.plays.control == pytest.approx(1 + 0.5 / len(in_control))
    assert compared.plays.treatment == pytest.approx(1 + 0.5 / len(in_treatment))


def test_each_evaluated_day_is_a_look_that_stays_when_the_rows_of_users_are_deleted(
    connection: Connection, in_treatment: set[int]
) -> None:
    insert_batch(connection, 2)
    expose(connection, set(USERS), in_treatment, at(0))
    add_plays(connection, *((user, at(0), (11, 50)) for user in USERS), *((user, at(1), (1,)) for user in USERS))
    assert newest_look(connection, 1) is None
    evaluate_due_days(connection)
    look = newest_look(connection, 1)
    assert look is not None
    assert (look.day, look.number) == (day(1), 2)
    assert asdict(look.result) == asdict(result(connection))
    assert look.result.ndcg is not None

    connection.execute("update ml.experiments set ended_at = %s, outcome = 'stopped'", [at(1)])
    connection.execute("set role moovitamix_ingest")  # the role of `maintain`
    assert prune_experiments(connection, at(1)) == {"experiment_outcomes": 0, "experiment_exposures": 0}
    pruned = prune_experiments(connection, at(1, 23))
    connection.execute("reset role")
    assert pruned == {"experiment_outcomes": 2 * len(USERS), "experiment_exposures": len(USERS)}
    assert newest_look(connection, 1) == look
    insert_batch(connection, 3)
    evaluate_due_days(connection)
    assert newest_look(connection, 1) == look


def test_rows_of_users_of_a_running_experiment_are_kept(connection: Connection, in_treatment: set[int]) -> None:
    expose(connection, set(USERS), in_treatment, at(0))
    assert prune_experiments(connection, at(100)) == {"experiment_outcomes": 0, "experiment_exposures": 0}


@pytest.mark.parametrize(
    ("failed_of_treatment", "problems"), [(10, []), (35, ["requests of more users of the treatment fail"])]
)
def test_more_failures_of_the_treatment_violate_a_guardrail(
    connection: Connection, in_treatment: set[int], failed_of_treatment: int, problems: list[str]
) -> None:
    """Of 200 users, half get the treatment; 5 of the control had a failed request."""
    connection.execute(
        "insert into warehouse.users select id, 'Ada', 'Lovelace', 'ada@example.org', 'f', 'Rock', %(now)s, %(now)s,"
        " null, 0, 'b' from generate_series(1001, 1200) as id",
        {"now": at(-1)},
    )
    connection.execute(
        "insert into ml.experiment_exposures select 1, id, id > 1100, %(now)s,"
        " case when id <= 1005 or id between 1101 and 1100 + %(failed)s then %(now)s::timestamptz end"
        " from generate_series(1001, 1200) as id",
        {"now": at(0), "failed": failed_of_treatment},
    )
    compared = result(connection)
    assert (compared.failed_users, list(compared.problems)) == ((5, failed_of_treatment), problems)
    assert compared.verdict == ("worse" if problems else "undecided")
