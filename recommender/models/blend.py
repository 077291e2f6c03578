"""A blend adds up the scores of several models after standardising them per user."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores


@dataclass(frozen=True)
class BlendMember:
    """A member of a blend. `weight` is the default of its weight parameter; None fixes the weight at 1."""

    model: type[Recommender]
    weight: float | None = None


class Blend(Recommender):
    """The weighted sum of the members' z-scores: per user, mean 0 and standard deviation 1 over all tracks.

    Models with different errors improve each other. Because of the z-scores, a weight does not depend on the scale of
    a model's scores. `blend_class` makes a subclass for each choice of members.

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
        super().__init__(**weights, **settings)
        self._members = [member.model(**settings[name]) for name, member in self.members.items()]
        self._weights = [np.float32(weights.get(f"{name}_weight", 1.0)) for name in self.members]

    def fit_members(self, interactions: Interactions, fit_member: Callable[[Recommender], Recommender]) -> None:
        """Fit like `fit_tracks`, with a function that fits a member; it may return an equal one that was fitted."""
        self._track_ids = interactions.track_ids
        if len(interactions):
            self._members = [fit_member(member) for member in self._members]

    def _fit(self, interactions: Interactions) -> None:
        for member in self._members:
            member.fit_tracks(interactions)

    def _prepare_users(self, histories: Interactions) -> None:
        for member in self._members:
            member.fold_in(histories)

    def __copy__(self) -> Self:
        model = super().__copy__()
        model._members = [copy.copy(member) for member in self._members]
        return model

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


def blend_class(class_name: str, name: str, *, module: str, members: Mapping[str, BlendMember]) -> type[Blend]:
    """Create a model class. Assign it to `class_name` in `module`, so that trial processes can import it.

    Its version is that of the newest member.
    """
    version = max(member.model.version for member in members.values())
    return type(class_name, (Blend,), {"name": name, "version": version, "members": members, "__module__": module})


def _standardised(scores: Scores, weight: np.float32) -> Scores:
    """Standardise each row in place, and multiply it by the weight."""
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.einsum("ij,ij->i", scores, scores) / np.float32(scores.shape[1]))
    scores *= np.divide(weight, deviation, where=deviation > 0, out=np.zeros_like(deviation))[:, None]
    return scores
