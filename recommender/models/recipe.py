"""A recipe: a model, its settings, and the weighting of plays. It is enough to train the model again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recommender.data.play_log import AS_PLAYED, PlayWeighting
from recommender.models.popularity import GenrePopularity, Popularity

# They are the same for many users, and training them is fast, so no model file holds them.
POPULARITIES = (Popularity.name, GenrePopularity.name)


@dataclass(frozen=True)
class Recipe:
    """A model, its settings, and how plays are weighed for it: enough to train it again."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: PlayWeighting = AS_PLAYED

    @property
    def params(self) -> dict[str, Any]:
        """As `ml.model_runs.params` holds it."""
        return {"settings": dict(self.settings), "options": asdict(self.options)}

    @property
    def personal(self) -> bool:
        """Whether its lists are meant to differ from user to user."""
        return self.model not in POPULARITIES

    def __str__(self) -> str:
        texts = [f"{name}={value}" for name, value in self.settings.items()]
        texts += [str(self.options)] if self.options != AS_PLAYED else []
        return f"{self.model} ({', '.join(texts)})" if texts else self.model
