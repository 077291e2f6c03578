"""The models that compete. A new one is one file in `recommender/models/` and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.errors import ModelFileError
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.base import Recommender
from recommender.models.ease import EASE
from recommender.models.graph_filter import GraphFilter
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.trials import Candidate

Candidates = Mapping[str, Candidate]

# Simple ones first: of two that are equally good, the earlier is chosen.
CANDIDATES: Candidates = {
    Popularity.name: Candidate(Popularity),
    GenrePopularity.name: Candidate(GenrePopularity),
    ALS.name: Candidate(ALS, ({"factors": 64}, {"factors": 128}, {"factors": 256})),
    EASE.name: Candidate(EASE, ({"ridge": 3.0}, {"ridge": 1.0}, {"ridge": 10.0})),
    GraphFilter.name: Candidate(GraphFilter, ({}, {"weighting": "log1p"})),
}


def load_model(path: Path, candidates: Candidates = CANDIDATES) -> Recommender:
    """The model that wrote this file; `fold_in` gives it its listeners. Raises ModelFileError."""
    name = file_format.read(path).model
    if name not in candidates:
        raise ModelFileError(f"{path} is the file of {name}, a model that is not in the registry; retrain")
    return candidates[name].make.load(path)
