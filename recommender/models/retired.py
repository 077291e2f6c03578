"""Models that are no longer trained. Their files can be loaded, so that older publications stay usable.

The nightly `recommend` and the fresh recommendations of the stream need the model of the live publication, which a
rollback may make an old one. Delete a class here when no kept publication uses it any more.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import sgemm
from scipy.sparse import csr_array

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models.als import ALS
from recommender.models.base import Recommender, Scores
from recommender.models.blend import BlendMember, blend_class
from recommender.models.ease import EASE
from recommender.models.scaling import Weighting, power, row_sums, scaled, weighted

_KINDS = ("artist", "genre", "everyone")


class RetiredModel(Recommender):
    """A model that can be loaded and folded in, but not fitted."""

    def _fit(self, interactions: Interactions) -> None:
        raise ModelError(f"{self.name} is no longer trained, only loaded; train another model")


class GraphFilter(RetiredModel):
    """Scores (r P - `sharpening` r P²) d^`popularity` + `low_pass` r d^-½ V Vᵀ d^½; replaced by `chebyshev`.

    r, d, P, V and S are those of `ChebyshevFilter`; P² is approximated by V S⁴ Vᵀ. Sources: Shen 2021 (GF-CF) and Choi
    2023 (BSPM).
    """

    name: ClassVar[str] = "graph_filter"

    def __init__(
        self,
        rank: int = 256,
        sharpening: float = 0.8,
        low_pass: float = 0.45,
        popularity: float = 0.3,
        weighting: Weighting = "binary",
        seed: int = 0,
    ) -> None:
        super().__init__(
            rank=rank,
            sharpening=sharpening,
            low_pass=low_pass,
            popularity=popularity,
            weighting=weighting,
            seed=seed,
        )
        self._arrays: dict[str, NDArray[Any]] = {}

    def _score(self, users: Interactions) -> Scores:
        weights = weighted(users.plays, self.params["weighting"])
        reached = np.ascontiguousarray((weights @ self._graph_by_track).toarray().T)
        scores: Scores = np.ascontiguousarray((self._lifted @ reached).T)
        smoothed = scaled(weights, np.ones(weights.shape[0], np.float32), self._smooth)
        low = np.hstack([(weights @ self._vectors) * self._sharpen, smoothed @ self._vectors])
        sgemm(1.0, self._passed.T, low.T, beta=1.0, c=scores.T, trans_a=True, overwrite_c=True)
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._arrays = state
        sums, self._vectors = state["sums"], state["vectors"]
        shape = (len(state["indptr"]) - 1, len(sums))
        graph = csr_array((state["data"], state["indices"], state["indptr"]), shape=shape)
        self._graph_by_track = graph.T.tocsr()
        lift = power(sums, self.params["popularity"])
        self._lifted = scaled(self._graph_by_track, lift, np.ones(shape[0], np.float32))
        self._passed = np.hstack([self._vectors * lift[:, None], self._vectors * power(sums, 0.5)[:, None]])
        self._sharpen = np.float32(-self.params["sharpening"]) * state["values"] ** 4
        self._smooth = np.float32(self.params["low_pass"]) * power(sums, -0.5)


class ArtistAndGenrePopularity(RetiredModel):
    """The first version of `content`: the sum over artist, genre and all tracks of affinity^`power` x share.

    The affinity of a user to a group is the share of the user's plays that is assigned to it; each of the `rounds`
    divides every play among its groups in proportion to affinity x share.
    """

    name: ClassVar[str] = "content"

    def __init__(
        self,
        power: float = 1.0,
        rounds: int = 1,
        smoothing: float = 2.0,
        counting: Literal["plays", "log1p"] = "plays",
    ) -> None:
        super().__init__(power=power, rounds=rounds, smoothing=smoothing, counting=counting)
        self._arrays: dict[str, NDArray[Any]] = {}

    def _score(self, users: Interactions) -> Scores:
        plays = users.plays if self.params["counting"] == "plays" else weighted(users.plays, "log1p")
        count, columns = plays.shape[0], plays.indices
        rows = np.repeat(np.arange(count), np.diff(plays.indptr))
        parts = plays.data * power(row_sums(plays), -1.0)[rows]
        groupings = [(self._arrays[f"{kind}.shelves"], self._arrays[f"{kind}.shares"]) for kind in _KINDS]

        def affinities(assigned: list[NDArray[np.float32]]) -> list[Scores]:
            sums = []
            for (groups, _), amounts in zip(groupings, assigned, strict=True):
                size = int(groups.max()) + 1
                cells = np.bincount(rows * size + groups[columns], amounts, minlength=count * size)
                sums.append(cells.astype(np.float32).reshape(count, size))
            return sums

        affinity = affinities([parts] * len(groupings))
        for _ in range(self.params["rounds"]):
            weights = [
                of_users[rows, groups[columns]] * shares[columns]
                for of_users, (groups, shares) in zip(affinity, groupings, strict=True)
            ]
            scale = parts / np.sum(weights, axis=0)
            affinity = affinities([scale * weight for weight in weights])
        scores: Scores = np.zeros(plays.shape, np.float32)
        for of_users, (groups, shares) in zip(affinity, groupings, strict=True):
            scores += (of_users ** np.float32(self.params["power"]))[:, groups] * shares
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._arrays = state


_GRAPH, _ALS = BlendMember(GraphFilter), BlendMember(ALS, weight=0.15)
GraphFilterWithALS = blend_class(
    "GraphFilterWithALS", "graph_als", module=__name__, members={"graph": _GRAPH, "als": _ALS}
)
EASEWithGraphFilterAndALS = blend_class(
    "EASEWithGraphFilterAndALS",
    "ease_graph_als",
    module=__name__,
    members={"ease": BlendMember(EASE), "graph": BlendMember(GraphFilter, weight=0.5), "als": _ALS},
)

_CONTENT = BlendMember(ArtistAndGenrePopularity, weight=2.0)
EASEWithArtistAndGenrePopularity = blend_class(
    "EASEWithArtistAndGenrePopularity",
    "ease_content",
    module=__name__,
    members={"ease": BlendMember(EASE), "content": _CONTENT},
)
GraphFilterWithArtistAndGenrePopularity = blend_class(
    "GraphFilterWithArtistAndGenrePopularity",
    "graph_content",
    module=__name__,
    members={"graph": _GRAPH, "content": _CONTENT},
)

RETIRED: dict[tuple[str, int], type[Recommender]] = {
    (model.name, model.version): model
    for model in (
        GraphFilter,
        ArtistAndGenrePopularity,
        GraphFilterWithALS,
        EASEWithGraphFilterAndALS,
        EASEWithArtistAndGenrePopularity,
        GraphFilterWithArtistAndGenrePopularity,
    )
}
"""The retired models by name and version."""
