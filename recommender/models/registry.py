"""The models that compete. A new one is a file in `recommender/models/` and two lines here: docs/models.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ModelFileError
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.base import Params, Recommender
from recommender.models.blend import (
    AllThree,
    EASEWithALS,
    EASEWithContent,
    GraphFilterWithALS,
    GraphFilterWithContent,
)
from recommender.models.content import ContentPopularity
from recommender.models.ease import EASE
from recommender.models.graph_filter import GraphFilter
from recommender.models.popularity import GenrePopularity, Popularity


@dataclass(frozen=True)
class Candidate:
    """A model that competes: its class, the settings to start from, which should always work, and where to look on.

    Each of `directions` is a line of settings that replace those of the same name in the best found so far; it is
    followed as long as each step is better, and left out when an earlier one has bettered the same setting. A blend has
    `members`: for each of its parameters that takes another candidate's settings, the name of that candidate; it gets
    the best that were found for it.
    """

    make: type[Recommender]
    settings: Params = field(default_factory=dict)
    directions: tuple[tuple[Params, ...], ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)


Candidates = Mapping[str, Candidate]

_CONTENT_WEIGHTS = (({"content_weight": 4.0},), ({"content_weight": 1.0}, {"content_weight": 0.5}))
_ALS_WEIGHTS = (({"als_weight": 0.3}, {"als_weight": 0.6}), ({"als_weight": 0.1},))
# Simple ones first: of two that are equally good, the earlier is chosen.
CANDIDATES: Candidates = {
    Popularity.name: Candidate(Popularity),
    GenrePopularity.name: Candidate(GenrePopularity),
    ContentPopularity.name: Candidate(
        ContentPopularity, {"power": 1.0, "rounds": 1}, (({"power": 1.5},), ({"rounds": 2},), ({"counting": "log1p"},))
    ),
    ALS.name: Candidate(
        ALS,
        {"factors": 64},
        (({"factors": 128}, {"factors": 256}), ({"factors": 32},), ({"regularization": 0.2},)),
    ),
    EASE.name: Candidate(
        EASE,
        {"ridge": 3.0},
        (({"ridge": 10.0}, {"ridge": 30.0}, {"ridge": 100.0}), ({"ridge": 1.0},), ({"weighting": "log1p_third"},)),
    ),
    GraphFilter.name: Candidate(GraphFilter, {}, (({"weighting": "log1p"},), ({"rank": 128}, {"rank": 64}))),
    EASEWithALS.name: Candidate(
        EASEWithALS, {"als_weight": 0.15}, _ALS_WEIGHTS, members={"ease": EASE.name, "als": ALS.name}
    ),
    GraphFilterWithALS.name: Candidate(
        GraphFilterWithALS, {"als_weight": 0.15}, _ALS_WEIGHTS, members={"graph": GraphFilter.name, "als": ALS.name}
    ),
    EASEWithContent.name: Candidate(
        EASEWithContent,
        {"content_weight": 2.0},
        _CONTENT_WEIGHTS,
        members={"ease": EASE.name, "content": ContentPopularity.name},
    ),
    GraphFilterWithContent.name: Candidate(
        GraphFilterWithContent,
        {"content_weight": 2.0},
        _CONTENT_WEIGHTS,
        members={"graph": GraphFilter.name, "content": ContentPopularity.name},
    ),
    AllThree.name: Candidate(
        AllThree,
        {"graph_weight": 0.5, "als_weight": 0.15},
        (({"graph_weight": 1.0},), *_ALS_WEIGHTS),
        {"ease": EASE.name, "graph": GraphFilter.name, "als": ALS.name},
    ),
}


def load_model(path: Path, candidates: Candidates = CANDIDATES) -> Recommender:
    """The model that wrote this file; `fold_in` gives it its listeners. Raises ModelFileError."""
    name = file_format.read(path).model
    if name not in candidates:
        raise ModelFileError(f"{path} is the file of {name}, a model that is not in the registry; retrain")
    return candidates[name].make.load(path)
