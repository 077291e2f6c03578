"""Every model keeps the contract, also with unusual settings."""

from __future__ import annotations

from recommender.models.als import ALS
from recommender.models.base import Recommender
from recommender.models.blend import AllThree, Blend, EASEWithALS, GraphFilterWithALS
from recommender.models.ease import EASE
from recommender.models.graph_filter import GraphFilter
from recommender.models.popularity import GenrePopularity, Popularity
from tests.contracts import RecommenderContract


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
    personal = False  # remembers twelve tracks, rather than learn what they have in common

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
    personal = False  # remembers twelve tracks, rather than learn what they have in common

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


class TestAllThree(RecommenderContract):
    def make(self) -> Recommender:
        return AllThree(graph={"rank": 2}, als={"factors": 2})
