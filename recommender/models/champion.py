"""The champion: the model behind the live recommendations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import ModelFileError
from recommender.models import file_format
from recommender.models.base import Recommender
from recommender.models.recipe import Recipe
from recommender.models.registry import CANDIDATES, Candidates, load_model


@dataclass(frozen=True)
class Champion:
    """The model behind the live publication. Its plays end at `data_as_of`."""

    live_id: int
    publication_id: int
    model_run_id: int
    recipe: Recipe
    model_file: str | None
    model_digest: str | None
    data_as_of: datetime

    def load(self, models: Path, candidates: Candidates = CANDIDATES) -> Recommender:
        """Load the model file. Raises ModelFileError when it is missing or its digest differs."""
        if self.model_file is None:
            raise ModelFileError(f"there is no model file of model run {self.model_run_id} ({self.recipe}); retrain")
        path = models / self.model_file
        if file_format.digest(path) != self.model_digest:
            raise ModelFileError(f"the model file {path} was changed after training; restore it, or retrain")
        return load_model(path, candidates)
