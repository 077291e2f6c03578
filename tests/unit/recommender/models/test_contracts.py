"""Every model passes the contract tests, also with unusual settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.models.als import ALS
from recommender.models.base import Recommender
from recommender.models.chebyshev import ChebyshevFilter
from recommender.models.content import Content
from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.registry import ChebyshevWithALS, ChebyshevWithContent, EASEWithALS, EASEWithContent
from tests.recommender_contract import RecommenderContract
from tests.two_groups import FIRST_GROUP, TRACK_IDS


class TestPopularity(RecommenderContract):
    personal = False

    def make(self) -> Recommender:
        return Popularity()


class TestGenrePopularity(RecommenderContract):
    personal = False

    def make(self) -> Recommender:
        return GenrePopularity(drawn_by=1.0)


class TestALS(RecommenderContract):
    def make(self) -> Recommender:
        return ALS(factors=2)


class TestALSOfMoreFactorsThanTracks(RecommenderContract):
    personal = False  # memorises twelve tracks instead of generalising

    def make(self) -> Recommender:
        return ALS(factors=64)


class TestEASE(RecommenderContract):
    def make(self) -> Recommender:
        return EASE()


class TestEASEOfBinaryPlaysUnscaled(RecommenderContract):
    def make(self) -> Recommender:
        return EASE(weighting="binary", user_exponent=0.0, item_exponent=0.0)


class TestEASEPopular(RecommenderContract):
    def make(self) -> Recommender:
        return EASE(popularity=0.25)


class TestChebyshevFilter(RecommenderContract):
    def make(self) -> Recommender:
        return ChebyshevFilter(rank=2)


class TestChebyshevFilterOfMoreVectorsThanTracks(RecommenderContract):
    def make(self) -> Recommender:
        return ChebyshevFilter()


class TestChebyshevFilterOfPlays(RecommenderContract):
    def make(self) -> Recommender:
        return ChebyshevFilter(rank=2, weighting="log1p")


class TestEASEWithALS(RecommenderContract):
    def make(self) -> Recommender:
        return EASEWithALS(als={"factors": 2})


class TestChebyshevWithALS(RecommenderContract):
    def make(self) -> Recommender:
        return ChebyshevWithALS(chebyshev={"rank": 2}, als={"factors": 2})


class _WithArtists(Recommender):
    """Adds an artist to each track: one per group, and none for other tracks."""

    def _fit(self, interactions: Interactions) -> None:
        tracks = interactions.track_ids
        artists = np.where(np.isin(tracks, TRACK_IDS), np.where(np.isin(tracks, FIRST_GROUP), 0, 1), -1).astype(
            np.int32
        )
        item_attributes = {ARTIST: artists, GENRE: np.zeros(len(tracks), np.int32)}
        super()._fit(replace(interactions, item_attributes=item_attributes))  # type: ignore[safe-super]


class _WithArtistsContent(_WithArtists, Content):
    pass


class _WithArtistsEASEWithContent(_WithArtists, EASEWithContent):
    pass


class _WithArtistsChebyshevWithContent(_WithArtists, ChebyshevWithContent):
    pass


class TestContent(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsContent()


class TestEASEWithContent(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsEASEWithContent()


class TestChebyshevWithContent(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsChebyshevWithContent(chebyshev={"rank": 2})
