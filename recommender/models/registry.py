"""The registry of candidates. docs/models.md explains how to add a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ModelFileError
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.base import Params, Recommender
from recommender.models.blend import BlendMember, NamedBlend, blend_class
from recommender.models.content import ContentPopularity
from recommender.models.ease import EASE
from recommender.models.graph_filter import GraphFilter
from recommender.models.popularity import GenrePopularity, Popularity


@dataclass(frozen=True)
class Candidate:
    """A model of the search: its class, its first settings, which must always work, and its search directions.

    Each of `directions` is a sequence of steps. A step replaces settings of the best trial so far. The search follows a
    direction while every step improves the result, and skips it when an earlier direction improved the same setting.
    The `members` of a blend map a parameter to the candidate whose best settings it takes.
    """

    model_class: type[Recommender]
    settings: Params = field(default_factory=dict)
    directions: tuple[tuple[Params, ...], ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)


Candidates = Mapping[str, Candidate]

# Blends: the weight of the first member is 1. docs/models.md describes each.
# 0.15: untuned; no experiment is on record, and the search tries 0.1 to 0.6.
_ALS = BlendMember(ALS, weight=0.15)
# 2.0: chosen in two of the four worlds of docs/benchmarks.md ("Recommending"), 4.0 in the other two.
_CONTENT = BlendMember(ContentPopularity, weight=2.0)
EASEWithALS = blend_class("EASEWithALS", "ease_als", module=__name__, members={"ease": BlendMember(EASE), "als": _ALS})
GraphFilterWithALS = blend_class(
    "GraphFilterWithALS", "graph_als", module=__name__, members={"graph": BlendMember(GraphFilter), "als": _ALS}
)
EASEWithGraphFilterAndALS = blend_class(
    "EASEWithGraphFilterAndALS",
    "ease_graph_als",
    module=__name__,
    # 0.5: untuned; no experiment is on record, and the search tries 1.0.
    members={"ease": BlendMember(EASE), "graph": BlendMember(GraphFilter, weight=0.5), "als": _ALS},
)
EASEWithContent = blend_class(
    "EASEWithContent", "ease_content", module=__name__, members={"ease": BlendMember(EASE), "content": _CONTENT}
)
GraphFilterWithContent = blend_class(
    "GraphFilterWithContent",
    "graph_content",
    module=__name__,
    members={"graph": BlendMember(GraphFilter), "content": _CONTENT},
)


def _blend_candidate(blend: type[NamedBlend], *directions: tuple[Params, ...]) -> Candidate:
    """A candidate that starts from the default weights and the best settings of each member."""
    weights = {f"{name}_weight": member.weight for name, member in blend.members.items() if member.weight is not None}
    return Candidate(blend, weights, directions, {name: member.model.name for name, member in blend.members.items()})


# Search directions: each value won in at least one experiment (commits 9ddcdcf and 6c5bd9b); values that never won were
# removed. docs/benchmarks.md ("Recommending") lists the settings chosen last.
_ALS_WEIGHTS = (({"als_weight": 0.3}, {"als_weight": 0.6}), ({"als_weight": 0.1},))
_CONTENT_WEIGHTS = (({"content_weight": 4.0},), ({"content_weight": 1.0}, {"content_weight": 0.5}))
# Simple models first: the earlier of two equally good models is chosen. The model classes document the source of the
# first settings.
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
    EASEWithALS.name: _blend_candidate(EASEWithALS, *_ALS_WEIGHTS),
    GraphFilterWithALS.name: _blend_candidate(GraphFilterWithALS, *_ALS_WEIGHTS),
    EASEWithContent.name: _blend_candidate(EASEWithContent, *_CONTENT_WEIGHTS),
    GraphFilterWithContent.name: _blend_candidate(GraphFilterWithContent, *_CONTENT_WEIGHTS),
    EASEWithGraphFilterAndALS.name: _blend_candidate(
        EASEWithGraphFilterAndALS, ({"graph_weight": 1.0},), *_ALS_WEIGHTS
    ),
}


def load_model(path: Path, candidates: Candidates = CANDIDATES) -> Recommender:
    """Load a model file; call `fold_in` before `recommend`. Raises ModelFileError."""
    name = file_format.read(path).model
    if name not in candidates:
        raise ModelFileError(f"{path} is the file of {name}, a model that is not in the registry; retrain")
    return candidates[name].model_class.load(path)
