"""The file of a trained model in the store of models."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ModelFileError
from core.file_store import FileStore
from recommender.models import file_format
from recommender.models.base import Recommender
from recommender.models.registry import CANDIDATES, Candidates, load_model


@dataclass(frozen=True)
class ModelFile:
    """The name of the file, and the SHA-256 of its content in hex."""

    name: str
    digest: str

    def load(self, models: FileStore, candidates: Candidates = CANDIDATES) -> Recommender:
        """Load the model; call `fold_in` before `recommend`.

        Raises ModelFileError when the file is missing or its digest differs, ObjectStoreError.
        """
        location = models.location_of(self.name)
        try:
            with models.local_copy(self.name) as path:
                if file_format.digest(path) != self.digest:
                    raise ModelFileError(
                        f"the model file {location} was changed after training; restore it, or retrain"
                    )
                return load_model(path, candidates)
        except FileNotFoundError:
            raise ModelFileError(f"the model file {location} is missing; restore it, or retrain") from None
