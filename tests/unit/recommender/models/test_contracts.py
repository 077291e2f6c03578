"""Every model passes the contract tests, also with unusual settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.models.als import ALS
from recommender.models.base import Recommender
from recommender.models.blend import Blend
from recommender.models.content import ContentPopularity
from recommender.models.ease import EASE
from recommender.models.graph_filter import GraphFilter
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.registry import (
    EASEWithALS,
    EASEWithContent,
    EASEWithGraphFilterAndALS,
    GraphFilterWithALS,
    GraphFilterWithContent,
)
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


class TestGraphFilter(RecommenderContract):
    def make(self) -> Recommender:
        return GraphFilter(rank=2)


class TestGraphFilterOfMoreVectorsThanTracks(RecommenderContract):
    personal = False  # memorises twelve tracks instead of generalising

    def make(self) -> Recommender:
        return GraphFilter()


class TestGraphFilterOfPlays(RecommenderContract):
    def make(self) -> Recommender:
        return GraphFilter(rank=2, weighting="log1p")


class TestEASEWithALS(RecommenderContract):
    def make(self) -> Recommender:
        return EASEWithALS(als={"factors": 2})


class TestGraphFilterWithALS(RecommenderContract):
    def make(self) -> Recommender:
        return GraphFilterWithALS(graph={"rank": 2}, als={"factors": 2})


class TestBlend(RecommenderContract):
    def make(self) -> Recommender:
        return Blend([{"name": "ease", "weight": 1.0}, {"name": "popularity", "weight": 0.1}])


class TestEASEWithGraphFilterAndALS(RecommenderContract):
    def make(self) -> Recommender:
        return EASEWithGraphFilterAndALS(graph={"rank": 2}, als={"factors": 2})


class _WithArtists(Recommender):
    """Adds an artist to each track: one per group, and none for other tracks."""

    def _fit(self, interactions: Interactions) -> None:
        tracks = interactions.track_ids
        artists = np.where(np.isin(tracks, TRACK_IDS), np.where(np.isin(tracks, FIRST_GROUP), 0, 1), -1).astype(
            np.int32
        )
        item_attributes = {ARTIST: artists, GENRE: np.zeros(len(tracks), np.int32)}
        super()._fit(replace(interactions, item_attributes=item_attributes))  # type: ignore[safe-super]


class _WithArtistsContent(_WithArtists, ContentPopularity):
    pass


class _WithArtistsEASEWithContent(_WithArtists, EASEWithContent):
    pass


class _WithArtistsGraphFilterWithContent(_WithArtists, GraphFilterWithContent):
    pass


class TestContent(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsContent()


class TestContentOfLogarithmsSharpened(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsContent(power=1.5, rounds=3, counting="log1p")


class TestEASEWithContent(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsEASEWithContent()


class TestGraphFilterWithContent(RecommenderContract):
    def make(self) -> Recommender:
        return _WithArtistsGraphFilterWithContent(graph={"rank": 2})
