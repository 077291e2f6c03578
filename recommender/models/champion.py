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
    """The model behind the list that is live. `data_as_of` is when its plays end."""

    live_id: int
    publication_id: int
    model_run_id: int
    recipe: Recipe
    model_file: str | None
    model_digest: str | None
    data_as_of: datetime

    def load(self, models: Path, candidates: Candidates = CANDIDATES) -> Recommender:
        """What it learned, from its file. Raises ModelFileError when it is missing, or not the one that was written."""
        if self.model_file is None:
            raise ModelFileError(f"no file was kept of model run {self.model_run_id} ({self.recipe}); retrain")
        path = models / self.model_file
        if file_format.digest(path) != self.model_digest:
            raise ModelFileError(f"the model file {path} is not the one that was written; restore it, or retrain")
        return load_model(path, candidates)
