"""Popularity within artists and genres, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.models.content import ContentPopularity
from recommender.models.ease import EASE
from recommender.models.registry import EASEWithContent, GraphFilterWithContent

# Tracks 1 and 2 are of one artist, 3 of another, 4 and 5 of nobody known; 3 and 4 share a genre; nobody played 2.
TRACKS = [1, 2, 3, 4, 5]
ARTISTS, GENRES = [7, 7, 9, -1, -1], [-1, -1, 0, 0, -1]


def four_listeners(**labels: list[int]) -> Interactions:
    """The plays of everyone else: 1 once, 3 once, 4 and 5 three times each, by one listener each."""
    known = labels or {ARTIST: ARTISTS, GENRE: GENRES}
    return Interactions.from_pairs([1, 2, 3, 4], [1, 3, 4, 5], [1, 1, 3, 3], catalogue=TRACKS, item_attributes=known)


def scores(model: ContentPopularity, tracks: list[int], plays: list[float]) -> list[float]:
    """What it says of tracks 1 to 5 to one who played these."""
    asked = Interactions.from_pairs([9] * len(tracks), tracks, plays, catalogue=TRACKS)
    return [float(score) for score in model._score(asked)[0]]


def test_the_score_is_taste_times_share_summed_over_the_shelves() -> None:
    model = ContentPopularity(rounds=0, smoothing=np.log(2)).fit(four_listeners())
    # In units of log 2, with one for each track: plays 1, 0, 1, 2, 2 become 2, 1, 2, 3, 3, of 11 in all.
    everyone = np.array([2, 1, 2, 3, 3]) / 11
    artist_7, genre_0 = np.array([2, 1, 0, 0, 0]) / 3, np.array([0, 0, 2, 3, 0]) / 5
    artist_9 = np.array([0, 0, 1, 0, 0])
    assert scores(model, [1], [4]) == pytest.approx(everyone + artist_7)
    assert scores(model, [1, 3], [3, 1]) == pytest.approx(
        everyone + 3 / 4 * artist_7 + 1 / 4 * artist_9 + 1 / 4 * genre_0
    )
    assert scores(model, [5], [1]) == pytest.approx(everyone)


def test_a_power_sharpens_tastes_and_log1p_counts_repeats_less() -> None:
    model = ContentPopularity(power=2.0, rounds=0, smoothing=np.log(2), counting="log1p").fit(four_listeners())
    # 3 plays and 1 count as 2 and 1.
    expected = np.array([2, 1, 2, 3, 3]) / 11
    expected += 4 / 9 * np.array([2, 1, 0, 0, 0]) / 3 + 1 / 9 * np.array([0, 0, 1 + 2 / 5, 3 / 5, 0])
    assert scores(model, [1, 3], [3, 1]) == pytest.approx(expected)


def test_a_round_divides_each_play_among_its_shelves_by_how_likely_they_brought_it() -> None:
    model = ContentPopularity(rounds=1, smoothing=np.log(2)).fit(four_listeners())
    # Of a play of 1: everyone 2/11, its artist 2/3; of 3: everyone 2/11, its artist 1, its genre 2/5, the last two
    # half as likely, as half of the plays are of their shelves; so is the artist of 1.
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
def test_a_new_track_of_a_favourite_artist_comes_before_what_is_merely_popular(
    model: type[ContentPopularity], tmp_path: Path
) -> None:
    # Listeners 0 to 9 play tracks 0 to 4 of artist 0, three each; 10 to 39 all play track 5 of another artist, and
    # eight of 6 to 29. Tracks 30 and 31, one of each artist, are new.
    tracks = (np.repeat(np.arange(10), 3) + np.tile(np.arange(3), 10)) % 5
    others = np.repeat(np.arange(10, 40), 8)
    plays = Interactions.from_pairs(
        np.concatenate([np.repeat(np.arange(10), 3), np.arange(10, 40), others]),
        np.concatenate([tracks, np.full(30, 5), 6 + (np.tile(np.arange(8), 30) * 3 + others) % 24]),
        catalogue=range(32),
        item_attributes={ARTIST: [0] * 5 + [1] * 25 + [0, 1], GENRE: [-1] * 32},
    )
    fitted = model().fit(plays)
    ranking = fitted.recommend(range(10), 3, exclude=plays)
    assert (ranking.ids[:, 2] == 30).all()
    fitted.save(tmp_path / "model.npz")
    without_labels = Interactions(plays.user_ids, plays.track_ids, plays.plays, plays.genres)
    again = model.load(tmp_path / "model.npz").fold_in(without_labels).recommend(range(10), 3, exclude=plays)
    assert (again.ids == ranking.ids).all()
    # A model of plays alone has no reason to.
    assert not (EASE().fit(plays).recommend(range(10), 3, exclude=plays).ids[:, 2] == 30).all()


def test_a_listener_of_unlabelled_tracks_gets_what_is_popular() -> None:
    model = ContentPopularity().fit(four_listeners())
    asked = Interactions.from_pairs([9], [5], catalogue=TRACKS)
    assert model.fold_in(asked).recommend([9], 5, exclude=asked).ids.tolist() == [[4, 1, 3, 2, -1]]


@pytest.mark.parametrize("labels", [{}, {ARTIST: [-1] * 5}, {ARTIST: [-1] * 5, GENRE: [-1] * 5}, {"mood": [1] * 5}])
@pytest.mark.parametrize("model", [ContentPopularity, EASEWithContent, GraphFilterWithContent])
def test_without_artists_and_genres_it_is_out(model: type[ContentPopularity], labels: dict[str, list[int]]) -> None:
    plays = Interactions.from_pairs([1, 2, 3], [1, 3, 4], catalogue=TRACKS, item_attributes=labels)
    with pytest.raises(ModelError, match=r"^content needs artists or genres of tracks"):
        model().fit(plays)


@pytest.mark.parametrize("labels", [{ARTIST: ARTISTS}, {GENRE: GENRES}, {ARTIST: ARTISTS, GENRE: [-1] * 5}])
def test_one_of_the_two_is_enough(labels: dict[str, list[int]]) -> None:
    model = ContentPopularity().fit(four_listeners(**labels))
    assert np.isfinite(scores(model, [1, 3], [1, 1])).all()


def test_the_numbers_of_labels_mean_nothing() -> None:
    one = ContentPopularity().fit(four_listeners())
    other = ContentPopularity().fit(four_listeners(artist=[2**31 - 1, 2**31 - 1, 0, -1, -1], genre=[-1, -1, 5, 5, -1]))
    assert scores(one, [1, 4], [1, 2]) == pytest.approx(scores(other, [1, 4], [1, 2]))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ModelError, match="counting must be plays or log1p, not 'binary'"):
        ContentPopularity(counting="binary")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="smoothing must be above 0"):
        ContentPopularity(smoothing=0.0)
