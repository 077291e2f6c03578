"""Item attributes come from the marts, and new tracks of favourite artists are recommended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.database import connect
from flows import recommend, retrain
from recommender.data import mart_reader
from recommender.data.interactions import ARTIST, GENRE
from recommender.models.content import Content
from recommender.models.ease import EASE
from recommender.models.registry import Candidate
from tests.integration.recommend.conftest import FilledDatabase, UseDatabase
from tests.publications import QUICK_CANDIDATES, live_publication, live_recommendations, only_candidates
from tests.warehouse_data import NEWEST, Session, add_sessions, add_tracks, add_users, taste_group_of

WEEK = timedelta(weeks=1)
SOLO = (201, 203, 205, 207, 209)
NEW, NAMELESS = 1001, 1002
FANS = range(501, 511)


@pytest.fixture
def only_content(no_settings: None) -> Iterator[None]:
    """Let only `content` and popularity compete."""
    without_ease = {name: candidate for name, candidate in QUICK_CANDIDATES.items() if name != EASE.name}
    with only_candidates(without_ease | {Content.name: Candidate(Content)}):
        yield


def test_a_new_track_of_a_favourite_artist_is_recommended(
    taste_groups: FilledDatabase, use: UseDatabase, only_content: None
) -> None:
    place = use(taste_groups)
    with connect(place.database) as connection:
        add_tracks(connection, [*SOLO, NEW, NAMELESS])
        add_users(connection, dict.fromkeys(FANS, "Rock"))
        # Fans play four of the five old tracks.
        add_sessions(connection, [Session(fan, NEWEST - WEEK, SOLO[: fan % 5] + SOLO[fan % 5 + 1 :]) for fan in FANS])
        artist = "case when id = 1002 then '' when id > 200 then 'Solo, \"the\" one' else 'Camp ' || id % 2 end"
        connection.execute(f"update warehouse.tracks set genres = ' ', artist = {artist}")
        log = mart_reader.read_plays(connection, NEWEST + timedelta(days=1))
        tracks = [*sorted(place.world.tracks), *SOLO, NEW, NAMELESS]
        assert log.catalogue.tolist() == tracks
        assert log.item_attributes[ARTIST].tolist() == [
            *(2 if track > 200 else taste_group_of(track) for track in tracks[:-1]),
            -1,
        ]
        assert set(log.item_attributes[GENRE]) == {-1}

    assert retrain.main([]) == 0

    assert live_publication(place.query) == (1, 1, "content", "published")
    lists = live_recommendations(place.query)
    for fan in FANS:
        assert set(lists[fan][:2]) == {SOLO[fan % 5], NEW}
    for user in place.world.users:
        assert {taste_group_of(track) for track in lists[user][:3]} == {taste_group_of(user)}
        assert not {NEW, NAMELESS} & set(lists[user])

    assert recommend.main([]) == 0
    assert live_recommendations(place.query) == lists
