"""The champion: the model behind the live recommendations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.errors import ModelFileError
from core.file_store import FileStore
from recommender.models.base import Recommender
from recommender.models.model_file import ModelFile
from recommender.models.recipe import Recipe
from recommender.models.registry import CANDIDATES, Candidates


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

    def load(self, models: FileStore, candidates: Candidates = CANDIDATES) -> Recommender:
        """Load the model file. Raises ModelFileError when it is missing or its digest differs, ObjectStoreError."""
        if self.model_file is None or self.model_digest is None:
            raise ModelFileError(f"there is no model file of model run {self.model_run_id} ({self.recipe}); retrain")
        return ModelFile(self.model_file, self.model_digest).load(models, candidates)
