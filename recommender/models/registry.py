"""The models that compete. A new one is a file in `recommender/models/` and two lines here: docs/models.md."""

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
    """Starts from the default weights, and from the best settings that the search found for each member."""
    weights = {f"{name}_weight": member.weight for name, member in blend.members.items() if member.weight is not None}
    return Candidate(blend, weights, directions, {name: member.model.name for name, member in blend.members.items()})


# Search directions: each value won in at least one experiment (commits 9ddcdcf and 6c5bd9b); values that never won were
# removed. docs/benchmarks.md ("Recommending") lists the settings chosen last.
_ALS_WEIGHTS = (({"als_weight": 0.3}, {"als_weight": 0.6}), ({"als_weight": 0.1},))
_CONTENT_WEIGHTS = (({"content_weight": 4.0},), ({"content_weight": 1.0}, {"content_weight": 0.5}))
# Simple models first: of two equally good models, the earlier one is chosen. The classes name the source of the
# settings that a model starts from.
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
    """The model that wrote this file; `fold_in` gives it its users. Raises ModelFileError."""
    name = file_format.read(path).model
    if name not in candidates:
        raise ModelFileError(f"{path} is the file of {name}, a model that is not in the registry; retrain")
    return candidates[name].make.load(path)
