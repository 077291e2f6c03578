"""A blend: the scores of several models, each put on the same scale per listener, and added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models.als import ALS
from recommender.models.base import Params, Recommender, Scores
from recommender.models.content import ContentPopularity
from recommender.models.ease import EASE
from recommender.models.graph_filter import GraphFilter
from recommender.models.popularity import GenrePopularity, Popularity

MEMBERS: dict[str, type[Recommender]] = {
    model.name: model for model in (Popularity, GenrePopularity, ContentPopularity, ALS, EASE, GraphFilter)
}
"""The models that can be part of a blend. One of your own needs a line here for that, besides the registry's."""


class Blend(Recommender):
    """The weighted sum of its members' scores, for each listener as z-scores: mean 0 and deviation 1 over all tracks.

    Each of `members` is `{"name": .., "params": {..}, "weight": ..}`. Models that err differently are better together;
    the z-scores make a weight mean the same whatever the scale of a model's scores.
    """

    name: ClassVar[str] = "blend"

    def __init__(self, members: Sequence[Params]) -> None:
        super().__init__(members=[dict(member) for member in members])
        self._members = [_made(member) for member in members]
        self._weights = [np.float32(member.get("weight", 1.0)) for member in members]

    def _learn(self, interactions: Interactions) -> None:
        for member in self._members:
            member._train(interactions)

    def _know(self, histories: Interactions) -> None:
        for member in self._members:
            member.fold_in(histories)

    def _score(self, listeners: Interactions) -> Scores:
        total = np.zeros((len(listeners.user_ids), len(listeners.track_ids)), np.float32)
        for member, weight in zip(self._members, self._weights, strict=True):
            total += _standardised(member._score(listeners), weight)
        return total

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{place}.{name}": array
            for place, member in enumerate(self._members)
            for name, array in member._state().items()
        }

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        for place, member in enumerate(self._members):
            begin = f"{place}."
            own = {name.removeprefix(begin): array for name, array in state.items() if name.startswith(begin)}
            if not own:
                raise KeyError(member.name)
            member._take(self._track_ids, own)


class EASEWithALS(Blend):
    """EASE, and a share of ALS: for a few thousand listeners or tracks."""

    name: ClassVar[str] = "ease_als"

    def __init__(self, als_weight: float = 0.15, ease: Params | None = None, als: Params | None = None) -> None:
        super().__init__([_member(EASE, ease), _member(ALS, als, als_weight)])
        self.params = {"als_weight": als_weight, "ease": dict(ease or {}), "als": dict(als or {})}


class GraphFilterWithALS(Blend):
    """The graph filter, and a share of ALS: for more listeners and tracks than EASE can take."""

    name: ClassVar[str] = "graph_als"

    def __init__(self, als_weight: float = 0.15, graph: Params | None = None, als: Params | None = None) -> None:
        super().__init__([_member(GraphFilter, graph), _member(ALS, als, als_weight)])
        self.params = {"als_weight": als_weight, "graph": dict(graph or {}), "als": dict(als or {})}


class AllThree(Blend):
    """EASE, and shares of the graph filter and of ALS: all that is known about a few thousand listeners or tracks."""

    name: ClassVar[str] = "ease_graph_als"

    def __init__(
        self,
        graph_weight: float = 0.5,
        als_weight: float = 0.15,
        ease: Params | None = None,
        graph: Params | None = None,
        als: Params | None = None,
    ) -> None:
        super().__init__(
            [_member(EASE, ease), _member(GraphFilter, graph, graph_weight), _member(ALS, als, als_weight)]
        )
        self.params = {
            "graph_weight": graph_weight,
            "als_weight": als_weight,
            "ease": dict(ease or {}),
            "graph": dict(graph or {}),
            "als": dict(als or {}),
        }


class EASEWithContent(Blend):
    """EASE, and what is popular of a listener's artists and genres: for short histories, and for new tracks."""

    name: ClassVar[str] = "ease_content"

    def __init__(self, content_weight: float = 2.0, ease: Params | None = None, content: Params | None = None) -> None:
        super().__init__([_member(EASE, ease), _member(ContentPopularity, content, content_weight)])
        self.params = {"content_weight": content_weight, "ease": dict(ease or {}), "content": dict(content or {})}


class GraphFilterWithContent(Blend):
    """The graph filter, and the same of it: for more listeners and tracks than EASE can take."""

    name: ClassVar[str] = "graph_content"

    def __init__(self, content_weight: float = 2.0, graph: Params | None = None, content: Params | None = None) -> None:
        super().__init__([_member(GraphFilter, graph), _member(ContentPopularity, content, content_weight)])
        self.params = {"content_weight": content_weight, "graph": dict(graph or {}), "content": dict(content or {})}


def _member(model: type[Recommender], params: Params | None, weight: float = 1.0) -> Params:
    return {"name": model.name, "params": dict(params or {}), "weight": weight}


def _made(member: Params) -> Recommender:
    name = member.get("name")
    if name not in MEMBERS:
        raise ModelError(f"a blend can be of {', '.join(MEMBERS)}, not of {name!r}")
    return MEMBERS[name](**member.get("params", {}))


def _standardised(scores: Scores, weight: np.float32) -> Scores:
    """The scores, changed in place: minus the mean of their row, divided by its deviation, times the weight."""
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.einsum("ij,ij->i", scores, scores) / np.float32(scores.shape[1]))
    scores *= np.divide(weight, deviation, where=deviation > 0, out=np.zeros_like(deviation))[:, None]
    return scores
