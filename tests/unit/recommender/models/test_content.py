"""ContentPopularity against values calculated by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.models.content import ContentPopularity
from recommender.models.ease import EASE
from recommender.models.registry import EASEWithContent, GraphFilterWithContent

# Tracks 1 and 2 have one artist, 3 another, 4 and 5 none. 3 and 4 share a genre. Nobody played 2.
TRACKS = [1, 2, 3, 4, 5]
ARTISTS, GENRES = [7, 7, 9, -1, -1], [-1, -1, 0, 0, -1]


def four_users(**attributes: list[int]) -> Interactions:
    """Four users with one track each: 1 once, 3 once, 4 and 5 three times."""
    attributes = attributes or {ARTIST: ARTISTS, GENRE: GENRES}
    return Interactions.from_pairs(
        [1, 2, 3, 4], [1, 3, 4, 5], [1, 1, 3, 3], catalogue=TRACKS, item_attributes=attributes
    )


def scores(model: ContentPopularity, tracks: list[int], plays: list[float]) -> list[float]:
    """The scores of tracks 1 to 5 for a user with these plays."""
    user = Interactions.from_pairs([9] * len(tracks), tracks, plays, catalogue=TRACKS)
    return [float(score) for score in model._score(user)[0]]


def test_score_is_affinity_times_share_summed_over_groups() -> None:
    model = ContentPopularity(rounds=0, smoothing=np.log(2)).fit(four_users())
    # In units of log 2, with one for each track: plays 1, 0, 1, 2, 2 become 2, 1, 2, 3, 3, of 11 in all.
    everyone = np.array([2, 1, 2, 3, 3]) / 11
    artist_7, genre_0 = np.array([2, 1, 0, 0, 0]) / 3, np.array([0, 0, 2, 3, 0]) / 5
    artist_9 = np.array([0, 0, 1, 0, 0])
    assert scores(model, [1], [4]) == pytest.approx(everyone + artist_7)
    assert scores(model, [1, 3], [3, 1]) == pytest.approx(
        everyone + 3 / 4 * artist_7 + 1 / 4 * artist_9 + 1 / 4 * genre_0
    )
    assert scores(model, [5], [1]) == pytest.approx(everyone)


def test_power_sharpens_affinities_and_log1p_counts_repeats_less() -> None:
    model = ContentPopularity(power=2.0, rounds=0, smoothing=np.log(2), counting="log1p").fit(four_users())
    # 3 plays and 1 count as 2 and 1.
    expected = np.array([2, 1, 2, 3, 3]) / 11
    expected += 4 / 9 * np.array([2, 1, 0, 0, 0]) / 3 + 1 / 9 * np.array([0, 0, 1 + 2 / 5, 3 / 5, 0])
    assert scores(model, [1, 3], [3, 1]) == pytest.approx(expected)


def test_round_divides_each_play_among_its_groups() -> None:
    model = ContentPopularity(rounds=1, smoothing=np.log(2)).fit(four_users())
    # A play of 1: all tracks 2/11, its artist 2/3. A play of 3: all tracks 2/11, its artist 1, its genre 2/5. Artists
    # and genre count half, because half of the plays belong to their groups.
    of_1, of_3 = 2 / 11 + 1 / 3, 2 / 11 + 1 / 2 + 1 / 5
    tastes = {
        "everyone": (2 / 11 / of_1 + 2 / 11 / of_3) / 2,
        "artist 7": 1 / 3 / of_1 / 2,
        "artist 9": 1 / 2 / of_3 / 2,
        "genre 0": 1 / 5 / of_3 / 2,
    }
    assert sum(tastes.values()) == pytest.approx(1)
    expected = tastes["everyone"] * np.array([2, 1, 2, 3, 3]) / 11
    expected += tastes["artist 7"] * np.array([2, 1, 0, 0, 0]) / 3 + tastes["artist 9"] * np.array([0, 0, 1, 0, 0])
    expected += tastes["genre 0"] * np.array([0, 0, 2, 3, 0]) / 5
    assert scores(model, [1, 3], [2, 2]) == pytest.approx(expected)


@pytest.mark.parametrize("model", [ContentPopularity, EASEWithContent, GraphFilterWithContent])
def test_new_track_of_a_favourite_artist_ranks_above_popular_tracks(
    model: type[ContentPopularity], tmp_path: Path
) -> None:
    # Users 0 to 9 play three of tracks 0 to 4, of artist 0. Users 10 to 39 play track 5, of artist 1, and eight of 6
    # to 29. Tracks 30 and 31, one of each artist, are new.
    tracks = (np.repeat(np.arange(10), 3) + np.tile(np.arange(3), 10)) % 5
    other_users = np.repeat(np.arange(10, 40), 8)
    plays = Interactions.from_pairs(
        np.concatenate([np.repeat(np.arange(10), 3), np.arange(10, 40), other_users]),
        np.concatenate([tracks, np.full(30, 5), 6 + (np.tile(np.arange(8), 30) * 3 + other_users) % 24]),
        catalogue=range(32),
        item_attributes={ARTIST: [0] * 5 + [1] * 25 + [0, 1], GENRE: [-1] * 32},
    )
    fitted = model().fit(plays)
    ranking = fitted.recommend(range(10), 3, exclude=plays)
    assert (ranking.ids[:, 2] == 30).all()
    fitted.save(tmp_path / "model.npz")
    without_attributes = Interactions(plays.user_ids, plays.track_ids, plays.plays, plays.genres)
    again = model.load(tmp_path / "model.npz").fold_in(without_attributes).recommend(range(10), 3, exclude=plays)
    assert (again.ids == ranking.ids).all()
    # A model of plays alone does not recommend it.
    assert not (EASE().fit(plays).recommend(range(10), 3, exclude=plays).ids[:, 2] == 30).all()


def test_user_of_tracks_without_attributes_gets_popular_tracks() -> None:
    model = ContentPopularity().fit(four_users())
    user = Interactions.from_pairs([9], [5], catalogue=TRACKS)
    assert model.fold_in(user).recommend([9], 5, exclude=user).ids.tolist() == [[4, 1, 3, 2, -1]]


@pytest.mark.parametrize("attributes", [{}, {ARTIST: [-1] * 5}, {ARTIST: [-1] * 5, GENRE: [-1] * 5}, {"mood": [1] * 5}])
@pytest.mark.parametrize("model", [ContentPopularity, EASEWithContent, GraphFilterWithContent])
def test_fit_without_artists_and_genres_is_refused(
    model: type[ContentPopularity], attributes: dict[str, list[int]]
) -> None:
    plays = Interactions.from_pairs([1, 2, 3], [1, 3, 4], catalogue=TRACKS, item_attributes=attributes)
    with pytest.raises(ModelError, match=r"^content needs artists or genres of tracks"):
        model().fit(plays)


@pytest.mark.parametrize("attributes", [{ARTIST: ARTISTS}, {GENRE: GENRES}, {ARTIST: ARTISTS, GENRE: [-1] * 5}])
def test_artists_or_genres_alone_are_enough(attributes: dict[str, list[int]]) -> None:
    model = ContentPopularity().fit(four_users(**attributes))
    assert np.isfinite(scores(model, [1, 3], [1, 1])).all()


def test_attribute_codes_are_arbitrary() -> None:
    first = ContentPopularity().fit(four_users())
    second = ContentPopularity().fit(four_users(artist=[2**31 - 1, 2**31 - 1, 0, -1, -1], genre=[-1, -1, 5, 5, -1]))
    assert scores(first, [1, 4], [1, 2]) == pytest.approx(scores(second, [1, 4], [1, 2]))


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ModelError, match="counting must be plays or log1p, not 'binary'"):
        ContentPopularity(counting="binary")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="smoothing must be above 0"):
        ContentPopularity(smoothing=0.0)
