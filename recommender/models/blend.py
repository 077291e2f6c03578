"""A blend adds up the scores of several models after standardising them per user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""The models that can be a member of a blend. A new member model needs a line here, besides the registry."""


class Blend(Recommender):
    """The weighted sum of the members' z-scores: per user, mean 0 and standard deviation 1 over all tracks.

    Each of `members` is `{"name": .., "params": {..}, "weight": ..}`. Models with different errors improve each other.
    Because of the z-scores, a weight does not depend on the scale of a model's scores.
    """

    name: ClassVar[str] = "blend"

    def __init__(self, members: Sequence[Params]) -> None:
        super().__init__(members=[dict(member) for member in members])
        self._members = [_create_member(member) for member in members]
        self._weights = [np.float32(member.get("weight", 1.0)) for member in members]

    def _fit(self, interactions: Interactions) -> None:
        for member in self._members:
            member._fit_tracks(interactions)

    def _prepare_users(self, histories: Interactions) -> None:
        for member in self._members:
            member.fold_in(histories)

    def _score(self, users: Interactions) -> Scores:
        total = np.zeros((len(users.user_ids), len(users.track_ids)), np.float32)
        for member, weight in zip(self._members, self._weights, strict=True):
            total += _standardised(member._score(users), weight)
        return total

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{position}.{name}": array
            for position, member in enumerate(self._members)
            for name, array in member._state().items()
        }

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        for position, member in enumerate(self._members):
            prefix = f"{position}."
            arrays = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
            if not arrays:
                raise KeyError(member.name)
            member._load_state(self._track_ids, arrays)


@dataclass(frozen=True)
class BlendMember:
    """A member of a named blend. `weight` is the default of its weight parameter; None fixes the weight at 1."""

    model: type[Recommender]
    weight: float | None = None


class NamedBlend(Blend):
    """A blend of fixed models with a name in the registry; `blend_class` makes its subclasses.

    The parameter `<member>` holds the settings of a member, `<member>_weight` its weight. Model files and
    `ml.model_runs` store both under these names.
    """

    members: ClassVar[Mapping[str, BlendMember]]

    def __init__(self, **params: Any) -> None:
        weights = {
            f"{name}_weight": member.weight for name, member in self.members.items() if member.weight is not None
        }
        unknown = params.keys() - weights.keys() - self.members.keys()
        if unknown:
            raise TypeError(f"{self.name} has no parameter {', '.join(sorted(unknown))}")
        weights |= {name: params[name] for name in weights if name in params}
        settings = {name: dict(params.get(name) or {}) for name in self.members}
        super().__init__(
            [
                {"name": member.model.name, "params": settings[name], "weight": weights.get(f"{name}_weight", 1.0)}
                for name, member in self.members.items()
            ]
        )
        self.params = {**weights, **settings}


def blend_class(class_name: str, name: str, *, module: str, members: Mapping[str, BlendMember]) -> type[NamedBlend]:
    """Create a model class. Assign it to `class_name` in `module`, so that trial processes can import it."""
    return type(class_name, (NamedBlend,), {"name": name, "members": members, "__module__": module})


def _create_member(member: Params) -> Recommender:
    name = member.get("name")
    if name not in MEMBERS:
        raise ModelError(f"{name!r} cannot be a member of a blend; use {', '.join(MEMBERS)}")
    return MEMBERS[name](**member.get("params", {}))


def _standardised(scores: Scores, weight: np.float32) -> Scores:
    """Standardise each row in place, and multiply it by the weight."""
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.einsum("ij,ij->i", scores, scores) / np.float32(scores.shape[1]))
    scores *= np.divide(weight, deviation, where=deviation > 0, out=np.zeros_like(deviation))[:, None]
    return scores
