"""The flows recommend and rollback: content of recommendations, and failures."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from core.database import connect
from flows import recommend, retrain, rollback
from recommender.publishing import publication
from tests.conftest import Query
from tests.integration.recommend.conftest import DatabaseCopy, FilledDatabase, UseDatabase
from tests.publications import (
    PER_USER,
    SIMILAR_TRACKS,
    live_publication,
    live_recommendations,
    recommendation_tables,
)
from tests.warehouse_data import (
    BATCHES,
    GENRES,
    NEWEST,
    Session,
    WarehouseData,
    add_sessions,
    add_tracks,
    add_users,
    fill_warehouse,
    identical_users,
    mark_removed,
    taste_group_of,
    two_taste_groups,
    with_large_ids,
)

Capture = pytest.CaptureFixture[str]
LAST = 2**63 - 1


def only_error(capture: Capture) -> str:
    """The single error line of a command."""
    out, err = capture.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in out + err
    assert "unexpected" not in err
    return lines[0].removeprefix("error: ")


def fallbacks(query: Query) -> dict[str, list[int]]:
    """The fallback of each genre in the live publication."""
    rows = query(
        "select genre, array_agg(track_id order by rank) from ml.fallbacks"
        " where publication_id = (select publication_id from ml.current_publication) group by genre"
    )
    return dict(rows)


def test_popularity_by_genre_is_published_before_the_first_training(
    taste_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    place = use(taste_groups)

    assert recommend.main([]) == 0

    output, errors = capfd.readouterr()
    assert output.startswith(
        "publication 1: 1,200 recommendations for 120 users by popularity_by_genre (model run 1), "
    )
    assert errors == ""
    assert live_publication(place.query) == (1, 1, "popularity_by_genre", "fallback")
    lists = live_recommendations(place.query)
    assert lists.keys() == place.world.users.keys()
    for user, tracks in lists.items():
        assert len(tracks) == PER_USER
        assert not place.world.played_tracks(user) & set(tracks)
    # Each genre has a fallback.
    assert {genre: len(tracks) for genre, tracks in fallbacks(place.query).items()} == dict.fromkeys(GENRES, PER_USER)
    ((tracks, longest_list, self_similar),) = place.query(
        "select count(distinct track_id), max(rank), count(*) filter (where track_id = similar_track_id)"
        " from ml.similar_tracks"
    )
    assert (tracks, longest_list, self_similar) == (len(place.world.tracks), SIMILAR_TRACKS, 0)
    assert place.query(
        "select distinct same_group from (select (track_id % 2 = similar_track_id % 2) as same_group"
        " from ml.similar_tracks where rank = 1) as nearest"
    ) == [(True,)]
    ((trace,),) = place.query("select to_jsonb(t) from ml.recommendation_trace as t where user_id = 1 and rank = 1")
    assert trace["why"] == "no model is trained yet: popularity by genre is used until the first training"
    assert trace["list_batches"] == trace["model_batches"] == sorted(BATCHES)
    assert trace["list_audit"]["failed_critical"] == 0
    assert trace["data_audits"].keys() == set(BATCHES)
    assert place.query("select flow, outcome from ops.runs") == [("recommend", "published")]


def test_recommend_uses_the_champion_and_new_data(trained_groups: FilledDatabase, use: UseDatabase) -> None:
    place = use(trained_groups)
    before = live_recommendations(place.query)
    removed_track, removed_user = before[8][0], 9
    later = NEWEST + timedelta(hours=5)
    with connect(place.database) as connection:
        add_users(connection, {500: "Jazz", 501: "Rock", 502: "Polka", LAST: ""})
        add_tracks(connection, [LAST])
        # A user plays recommended tracks, a new user starts, and a user plays the new track.
        add_sessions(
            connection,
            [Session(7, later, tuple(before[7][:3])), Session(501, later, (3, 5, 7)), Session(1, later, (LAST,))],
        )
        mark_removed(connection, "tracks", removed_track)
        mark_removed(connection, "users", removed_user)

    assert recommend.main([]) == 0

    assert live_publication(place.query) == (2, 1, "ease", "published")
    assert place.query("select live_why, data_as_of > %s from ml.current_publication", later) == [("refreshed", True)]
    lists = live_recommendations(place.query)
    assert lists.keys() == (place.world.users.keys() | {500, 501, 502, LAST}) - {removed_user}
    assert {len(tracks) for tracks in lists.values()} == {PER_USER}
    assert not set(before[7][:3]) & set(lists[7])
    assert all(removed_track not in tracks for tracks in lists.values())
    assert {taste_group_of(track) for track in lists[501][:5]} == {1}
    popular = fallbacks(place.query)
    assert (lists[500], lists[LAST]) == (popular["Jazz"], popular[""])
    assert lists[502] == popular[""]  # no other user likes Polka
    assert removed_track not in popular[""]
    assert place.query(
        "select count(*) from ml.similar_tracks where publication_id = 2 and %s in (track_id, similar_track_id)",
        removed_track,
    ) == [(0,)]
    # No training: the model run is the same.
    assert place.query("select count(*) from ml.model_runs") == [(1,)]


def test_flood_of_hidden_tracks_shortens_no_list(trained_groups: FilledDatabase, use: UseDatabase) -> None:
    """One user hides their whole list three times, another hides every track; all of it is audited and published."""
    place = use(trained_groups)
    before = live_recommendations(place.query)
    user, hiding_all, *_ = sorted(before)
    hidden: set[int] = set()
    with connect(place.database) as connection:
        connection.execute("insert into serving.api_keys values ('k', 'app', '', '{}', '2024-03-01')")
        hide = (
            "insert into ml.reactions select %s, id, null, 'hide', 'k', '2024-04-01', '2024-04-01'"
            " from warehouse.tracks"
        )
        connection.execute(hide, [hiding_all])
        for _ in range(3):
            tracks = live_recommendations(place.query)[user]
            assert len(tracks) == PER_USER and not hidden & set(tracks)
            hidden |= set(tracks)
            connection.execute(f"{hide} where id = any (%s)", [user, tracks])
            assert recommend.main([]) == 0
    lists = live_recommendations(place.query)
    assert hiding_all not in lists
    assert {other: lists[other] for other in lists if other != user} == {
        other: tracks for other, tracks in before.items() if other not in (user, hiding_all)
    }
    assert len(lists[user]) == PER_USER and not hidden & set(lists[user])


def test_played_tracks_are_recommended_when_allowed(
    trained_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = use(trained_groups)
    monkeypatch.setenv("RECOMMEND_PLAYED", "true")

    assert recommend.main([]) == 0

    lists = live_recommendations(place.query)
    assert sum(len(place.world.played_tracks(user) & set(tracks)) for user, tracks in lists.items()) > len(lists)


def one_of_each() -> WarehouseData:
    """One user, one track, one play."""
    return WarehouseData({1: "Rock"}, [1], [Session(1, NEWEST, (1,))])


def devoted() -> WarehouseData:
    """One user played all tracks, one none, one some."""
    tracks = range(1, 6)
    return WarehouseData(
        {1: "Rock", 2: "Rock", 3: "Jazz"}, tracks, [Session(1, NEWEST, tuple(tracks)), Session(3, NEWEST, (1, 2))]
    )


SMALL_WAREHOUSES = {
    "one track for two": (WarehouseData({1: "", 2: ""}, [1], [Session(1, NEWEST, (1,))]), {2: [1]}),
    "one user played all tracks": (devoted(), {2: [1, 2, 3, 4, 5], 3: [3, 4, 5]}),
}


@pytest.mark.parametrize("name", SMALL_WAREHOUSES)
@pytest.mark.parametrize("flow", [recommend, retrain], ids=["recommend", "retrain"])
def test_few_tracks_or_users_give_the_fallback(
    name: str, flow: object, database: str, data_dir: Path, prefect_server: None, query: Query
) -> None:
    world, lists = SMALL_WAREHOUSES[name]
    fill_warehouse(database, world)

    assert flow.main([]) == 0  # type: ignore[attr-defined]

    assert live_recommendations(query) == lists
    assert live_publication(query) == (1, 1, "popularity_by_genre", "fallback")
    assert set(fallbacks(query)[""]) == set(world.tracks)


@pytest.mark.parametrize("flow", [recommend, retrain], ids=["recommend", "retrain"])
def test_no_possible_recommendation_is_blocked(
    flow: object, database: str, data_dir: Path, prefect_server: None, query: Query, capfd: Capture
) -> None:
    fill_warehouse(database, one_of_each())

    assert flow.main([]) == 1  # type: ignore[attr-defined]

    assert "blocked: number of recommendations 0 is below 1" in only_error(capfd)
    assert live_publication(query) is None
    assert query("select decision from ml.model_runs") == [("blocked",)]
    assert query("select status from ml.publications") == [("blocked",)]
    assert query("select outcome from ops.runs") == [("failed",)]


@pytest.mark.parametrize("flow", [recommend, retrain], ids=["recommend", "retrain"])
@pytest.mark.parametrize("missing", ["anything", "plays", "tracks", "users"])
def test_missing_data_gives_an_error_of_one_line(
    missing: str, flow: object, database: str, data_dir: Path, prefect_server: None, query: Query, capfd: Capture
) -> None:
    world = two_taste_groups(users=4)
    if missing == "plays":
        fill_warehouse(database, WarehouseData(world.users, world.tracks))
    elif missing != "anything":
        fill_warehouse(database, world)
        with connect(database) as connection:
            connection.execute(f"update warehouse.{missing} set removed_at = '2024-05-01'")

    assert flow.main([]) == 1  # type: ignore[attr-defined]

    assert "there are no plays" in (error := only_error(capfd))
    assert error.endswith("run an ingest first")
    assert live_publication(query) is None
    assert query("select count(*) from ml.model_runs where decision = 'running'") == [(0,)]


def test_all_plays_equal(database: str, data_dir: Path, prefect_server: None, query: Query) -> None:
    world = identical_users()
    fill_warehouse(database, world)

    assert retrain.main([]) == 0

    assert live_publication(query) == (1, 1, "popularity_by_genre", "fallback")
    lists = live_recommendations(query)
    assert lists.keys() == world.users.keys()
    assert {tuple(sorted(tracks)) for tracks in lists.values()} == {tuple(range(11, 21))}


def test_largest_ids_are_supported(database: str, data_dir: Path, prefect_server: None, query: Query) -> None:
    world = with_large_ids(two_taste_groups())
    fill_warehouse(database, world)

    assert retrain.main([]) == 0
    assert recommend.main([]) == 0

    assert live_publication(query) == (2, 1, "ease", "published")
    lists = live_recommendations(query)
    assert max(lists) == LAST
    for user, tracks in lists.items():
        assert {track % 2 for track in tracks[:3]} <= {track % 2 for track in world.played_tracks(user)}
        assert not world.played_tracks(user) & set(tracks)


def test_number_of_free_text_genres_is_bounded(
    database: str, data_dir: Path, prefect_server: None, query: Query
) -> None:
    world = two_taste_groups(users=400)
    genres = {1: "Ra" * 1_000_000, 2: "R" * 101, 3: "Rock", 4: "Rock", 5: 'a "quoted", one\n'}
    fill_warehouse(
        database,
        WarehouseData({user: genres.get(user, f"Genre {user}") for user in world.users}, world.tracks, world.sessions),
    )

    assert recommend.main([]) == 0

    assert live_recommendations(query).keys() == world.users.keys()
    assert len(fallbacks(query)) == 200
    assert {"", "Rock"} <= fallbacks(query).keys()
    assert all(len(genre) <= 100 for genre in fallbacks(query))


def assert_publication_1_is_live(place: DatabaseCopy, before: dict[int, list[int]]) -> None:
    assert live_publication(place.query) == (1, 1, "ease", "published")
    assert live_recommendations(place.query) == before


BROKEN_FILES = {
    "missing": (lambda path: path.unlink(), "cannot be read (No such file or directory); restore it, or retrain"),
    "cut": (
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        "was changed after training; restore it, or retrain",
    ),
    "another": (lambda path: path.write_bytes(b"PK"), "was changed after training; restore it, or retrain"),
}


@pytest.mark.parametrize("broken", BROKEN_FILES)
def test_unusable_champion_file_keeps_the_publication_until_a_training(
    broken: str, trained_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    place = use(trained_groups)
    before = live_recommendations(place.query)
    spoil, words = BROKEN_FILES[broken]
    spoil(place.data_dir / "models" / "model-1.npz")

    assert recommend.main([]) == 1

    error = only_error(capfd)
    assert "the model file " in error
    assert words in error
    assert_publication_1_is_live(place, before)
    # A training publishes the same recipe again, although it is not better.
    assert retrain.main([]) == 0
    assert live_publication(place.query) == (2, 2, "ease", "published")
    assert recommend.main([]) == 0
    assert live_publication(place.query) == (3, 2, "ease", "published")
    # The recommendations of publication 1 are still complete.
    assert rollback.main(["1"]) == 0
    assert_publication_1_is_live(place, before)


def test_blocked_publication_is_invisible(
    trained_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    place = use(trained_groups)
    before = live_recommendations(place.query)
    monkeypatch.setenv("THRESHOLD_MIN_COVERAGE", "1")
    monkeypatch.setenv("THRESHOLD_WARN_COVERAGE", "1")
    monkeypatch.setenv("RECOMMENDATIONS_PER_USER", "1")

    assert recommend.main([]) == 1

    error = only_error(capfd)
    assert error.startswith("recommendations-2 blocked: coverage ")
    assert error.endswith("% is below 100 %")
    assert_publication_1_is_live(place, before)
    assert place.query(
        "select status, reason like 'coverage %%', listeners, rows from ml.publications where publication_id = 2"
    ) == [("blocked", True, 120, 120)]
    assert {"staging.recommendations_2", "staging.similar_tracks_2"} <= recommendation_tables(place.query)
    assert place.query("select count(*) from ml.recommendations where publication_id = 2") == [(0,)]
    failed = "select expectation from ml.expectation_results where publication_id = 2 and not success order by 1"
    assert place.query(failed) == [("catalogue_is_covered",), ("catalogue_is_well_covered",)]
    assert place.query("select decision from ml.model_runs") == [("published",)]
    assert rollback.main(["2"]) == 2
    assert only_error(capfd) == "publication 2 is blocked and was never live; choose another"
    assert place.query("select outcome from ops.runs order by run_id desc limit 1") == [("failed",)]


def test_recommend_after_a_rollback_uses_the_older_model(
    trained_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    place = use(trained_groups)
    before = live_recommendations(place.query)
    with connect(place.database) as connection:
        add_sessions(connection, [Session(7, NEWEST + timedelta(hours=1), tuple(before[7]))])
    assert recommend.main([]) == 0
    assert recommend.main([]) == 0
    capfd.readouterr()

    assert rollback.main([]) == 0
    assert capfd.readouterr().out == "publication 2 is live\n"
    assert rollback.main(["1", "--why", "the new ones are odd"]) == 0
    assert_publication_1_is_live(place, before)
    assert place.query("select live_why from ml.current_publication") == [("the new ones are odd",)]
    assert rollback.main(["1"]) == 0  # already live
    assert place.query("select count(*) from ml.live_publications") == [(5,)]
    assert recommend.main([]) == 0
    assert live_publication(place.query) == (4, 1, "ease", "published")


@pytest.mark.parametrize("number", ["99", str(10**30)])
def test_rollback_to_an_unknown_id_is_refused(
    number: str, taste_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    use(taste_groups)
    assert rollback.main([number]) == 2
    assert only_error(capfd) == f"there is no publication {number}; ml.publications lists all publications"


def test_rollback_before_the_first_publication_is_refused(
    empty_database: str, taste_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    use(taste_groups)
    assert rollback.main([]) == 2
    assert only_error(capfd) == "no earlier live publication is kept, so there is nothing to roll back to"
    monkeypatch.setenv("DATABASE_URL", empty_database)
    assert rollback.main(["1"]) == 2
    assert only_error(capfd) == "there is no publication 1; ml.publications lists all publications"


def test_rollback_during_recommend_is_not_overwritten(
    trained_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    place = use(trained_groups)
    before = live_recommendations(place.query)
    assert recommend.main([]) == 0
    real = publication.stage_recommendations

    def roll_back_meanwhile(connection: object, *arguments: object) -> None:
        real(connection, *arguments)  # type: ignore[arg-type]
        assert rollback.main(["1"]) == 0

    monkeypatch.setattr(publication, "stage_recommendations", roll_back_meanwhile)

    assert recommend.main([]) == 1

    assert only_error(capfd) == (
        "recommendations-3 is not published, because another publication went live meanwhile (by a rollback "
        "or another run); run again"
    )
    assert place.query(
        "select status, reason ~ 'another publication went live' from ml.publications order by 1 desc limit 1"
    ) == [("staged", True)]
    assert_publication_1_is_live(place, before)
