"""The scores of Content equal those of an implementation with loops over plays and groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.models import content
from recommender.models.content import Content
from recommender.models.ease import EASE
from recommender.models.registry import ChebyshevWithContent, EASEWithContent

# Tracks 1 and 2 have one artist, 3 another, 4 and 5 none. 3 and 4 share a genre. Nobody played 2.
TRACKS = [1, 2, 3, 4, 5]
ARTISTS, GENRES = [7, 7, 9, -1, -1], [-1, -1, 0, 0, -1]


def four_users(**attributes: list[int]) -> Interactions:
    """Four users with one track each: 1 once, 3 once, 4 and 5 three times."""
    attributes = attributes or {ARTIST: ARTISTS, GENRE: GENRES}
    return Interactions.from_pairs(
        [1, 2, 3, 4], [1, 3, 4, 5], [1, 1, 3, 3], catalogue=TRACKS, item_attributes=attributes
    )


def scores(model: Content, tracks: list[int], plays: list[float]) -> list[float]:
    """The scores of tracks 1 to 5 for a user with these plays."""
    user = Interactions.from_pairs([9] * len(tracks), tracks, plays, catalogue=TRACKS)
    return [float(score) for score in model._score(user)[0]]


def scores_with_loops(plays: dict[int, int], user: dict[int, float], groups: list[dict[int, int]]) -> list[float]:
    """The score of each track.

    `plays` has the plays of all users by track. `groups` has one mapping for each kind, from track to group.
    """
    alpha, total = (1, 1, 1, 0.3), sum(plays.values())

    def phi(kind: int, track: int) -> float:
        members = [member for member in groups[kind] if groups[kind][member] == groups[kind][track]]
        return (plays[track] + 1) / sum(plays[member] + 1 for member in members)

    def prior(kind: int, track: int) -> float:
        members = [member for member in groups[kind] if groups[kind][member] == groups[kind][track]]
        return alpha[kind] * sum(plays[member] for member in members) / total

    def counts(gamma: dict[int, dict[int, float]], kind: int, track: int) -> float:
        group = groups[kind][track]
        return sum(user[p] * gamma[p][kind] for p in user if groups[kind].get(p) == group)

    kinds = {track: [kind for kind in range(4) if track in groups[kind]] for track in plays}
    gamma = {p: {kind: 1 / len(kinds[p]) for kind in kinds[p]} for p in user}
    for _ in range(2):
        weights = {
            p: {
                kind: (max(counts(gamma, kind, p) - gamma[p][kind], 0) + prior(kind, p)) * phi(kind, p)
                for kind in kinds[p]
            }
            for p in user
        }
        gamma = {p: {kind: w / sum(weights[p].values()) for kind, w in weights[p].items()} for p in user}
    return [
        sum((counts(gamma, kind, track) + prior(kind, track)) * phi(kind, track) for kind in kinds[track])
        for track in plays
    ]


@pytest.mark.parametrize("user", [{1: 4}, {1: 3, 3: 1}, {5: 1}, {1: 2, 3: 2, 4: 7, 5: 1}])
def test_scores_match_an_implementation_with_loops(user: dict[int, float]) -> None:
    model = Content().fit(four_users())
    # Three pairs are one cluster, without track 5.
    groups = [{1: 0, 2: 0, 3: 1, 4: 2}, dict.fromkeys([1, 2, 3, 4], 0), {3: 0, 4: 0}, dict.fromkeys(TRACKS, 0)]
    expected = scores_with_loops({1: 1, 2: 0, 3: 1, 4: 3, 5: 3}, user, groups)
    assert scores(model, list(user), list(user.values())) == pytest.approx(expected, rel=1e-5)


def test_kind_counts_unless_one_group_has_every_track() -> None:
    for genres, genre_groups in (([5] * 5, [-1] * 5), ([5, 5, 5, 5, -1], [0, 0, 0, 0, -1])):
        groups = Content().fit(four_users(artist=ARTISTS, genre=genres))._state()["groups"]
        assert groups[2].tolist() == genre_groups


def test_pairs_with_common_users_are_one_niche() -> None:
    # There are 16 artists in four hidden scenes. A user plays artists of one scene. Four pairs form a niche, so there
    # are four niches.
    users = np.arange(80)
    artists = np.array([4 * ((users // 4 + step) % 4) + users % 4 for step in range(3)])
    plays = Interactions.from_pairs(
        np.tile(users, 3), artists.ravel(), catalogue=range(16), item_attributes={ARTIST: list(range(16))}
    )
    niches = Content().fit(plays)._state()["groups"][1]
    assert [len(set(niches[scene::4])) for scene in range(4)] == [1, 1, 1, 1]
    assert len(set(niches)) == 4


def test_less_played_pairs_share_a_niche(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MAX_CLUSTERED", 2)
    pairs, niches = Content().fit(four_users(artist=[1, 2, 3, 4, -1]))._state()["groups"][:2]
    assert pairs.tolist() == [0, 1, 2, 3, -1]
    # Tracks 4 and 1 are the most played with an artist; two pairs are one cluster.
    assert niches.tolist() == [0, 1, 1, 0, -1]


@pytest.mark.parametrize("model", [Content, EASEWithContent, ChebyshevWithContent])
def test_new_track_of_a_favourite_artist_ranks_above_popular_tracks(model: type[Content], tmp_path: Path) -> None:
    # Users 0 to 9 play three of the tracks 0 to 4, which are of artist 0. Users 10 to 39 play track 5 and 20 of the
    # tracks 6 to 29, which are of artist 1. Nobody played track 30 of artist 0 and track 31 of artist 1.
    tracks = (np.repeat(np.arange(10), 3) + np.tile(np.arange(3), 10)) % 5
    other_users = np.repeat(np.arange(10, 40), 20)
    plays = Interactions.from_pairs(
        np.concatenate([np.repeat(np.arange(10), 3), np.arange(10, 40), other_users]),
        np.concatenate([tracks, np.full(30, 5), 6 + (np.tile(np.arange(20), 30) + other_users) % 24]),
        catalogue=range(32),
        item_attributes={ARTIST: [0] * 5 + [1] * 25 + [0, 1], GENRE: [-1] * 32},
    )
    fitted_model = model().fit(plays)
    ranking = fitted_model.recommend(range(10), 3, exclude=plays)
    assert (ranking.ids[:, 2] == 30).all()
    fitted_model.save(tmp_path / "model.npz")
    without_attributes = Interactions(plays.user_ids, plays.track_ids, plays.plays, plays.genres)
    loaded_ranking = (
        model.load(tmp_path / "model.npz").fold_in(without_attributes).recommend(range(10), 3, exclude=plays)
    )
    assert (loaded_ranking.ids == ranking.ids).all()
    # A model that uses only plays does not recommend track 30.
    assert not (EASE().fit(plays).recommend(range(10), 3, exclude=plays).ids[:, 2] == 30).all()


def test_user_of_tracks_without_attributes_gets_popular_tracks() -> None:
    model = Content().fit(four_users())
    user = Interactions.from_pairs([9], [5], catalogue=TRACKS)
    assert model.fold_in(user).recommend([9], 5, exclude=user).ids.tolist() == [[4, 3, 1, 2, -1]]


@pytest.mark.parametrize("attributes", [{}, {ARTIST: [-1] * 5}, {ARTIST: [-1] * 5, GENRE: [-1] * 5}, {"mood": [1] * 5}])
@pytest.mark.parametrize("model", [Content, EASEWithContent, ChebyshevWithContent])
def test_fit_without_artists_and_genres_is_refused(model: type[Content], attributes: dict[str, list[int]]) -> None:
    plays = Interactions.from_pairs([1, 2, 3], [1, 3, 4], catalogue=TRACKS, item_attributes=attributes)
    with pytest.raises(ModelError, match=r"^content needs artists or genres of tracks"):
        model().fit(plays)


@pytest.mark.parametrize("attributes", [{ARTIST: ARTISTS}, {GENRE: GENRES}, {ARTIST: ARTISTS, GENRE: [-1] * 5}])
def test_fit_needs_only_artists_or_genres(attributes: dict[str, list[int]]) -> None:
    model = Content().fit(four_users(**attributes))
    assert np.isfinite(scores(model, [1, 3], [1, 1])).all()


def test_attribute_codes_are_arbitrary() -> None:
    first = Content().fit(four_users())
    second = Content().fit(four_users(artist=[2**31 - 1, 2**31 - 1, 0, -1, -1], genre=[-1, -1, 5, 5, -1]))
    assert scores(first, [1, 4], [1, 2]) == pytest.approx(scores(second, [1, 4], [1, 2]))
