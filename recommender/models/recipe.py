"""A recipe: everything that is needed to train a model again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recommender.data.play_log import AS_PLAYED, PlayWeighting
from recommender.models.popularity import GenrePopularity, Popularity

# Popularity models are fast to train, so they have no model file.
POPULARITIES = (Popularity.name, GenrePopularity.name)


@dataclass(frozen=True)
class Recipe:
    """A model, its settings, and the weighting of plays."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    weighting: PlayWeighting = AS_PLAYED

    @property
    def params(self) -> dict[str, Any]:
        """The value of `ml.model_runs.params`."""
        return {"settings": dict(self.settings), "options": asdict(self.weighting)}

    @property
    def is_personalised(self) -> bool:
        """Whether the model learns from each user's own plays. False for popularity models, also by genre."""
        return self.model not in POPULARITIES

    def __str__(self) -> str:
        texts = [f"{name}={value}" for name, value in self.settings.items()]
        texts += [str(self.weighting)] if self.weighting != AS_PLAYED else []
        return f"{self.model} ({', '.join(texts)})" if texts else self.model
