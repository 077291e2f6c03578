"""The registry of candidates. docs/models.md explains how to add a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ModelFileError
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.base import Params, Recommender
from recommender.models.blend import Blend, BlendMember, blend_class
from recommender.models.chebyshev import ChebyshevFilter
from recommender.models.content import Content
from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.retired import RETIRED


@dataclass(frozen=True)
class Candidate:
    """A model of the search: its class, its first settings, which must always work, and its search directions.

    Each of `directions` is a sequence of steps. A step replaces settings of the best trial so far. The search follows a
    direction while every step improves the result, and skips it when earlier directions improved the same settings.
    The `members` of a blend map a parameter to the candidate whose best settings it takes. If `settings` has others for
    a member, the search starts from these, then from every combination of both.
    """

    model_class: type[Recommender]
    settings: Params = field(default_factory=dict)
    directions: tuple[tuple[Params, ...], ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)


Candidates = Mapping[str, Candidate]

# Blends: the weight of the first member is 1. docs/models.md describes each.
EASEWithALS = blend_class(
    "EASEWithALS",
    "ease_als",
    module=__name__,
    members={"ease": BlendMember(EASE), "als": BlendMember(ALS, weight=0.5)},
)
ChebyshevWithALS = blend_class(
    "ChebyshevWithALS",
    "chebyshev_als",
    module=__name__,
    members={"chebyshev": BlendMember(ChebyshevFilter), "als": BlendMember(ALS, weight=0.8)},
)
# In the four worlds of docs/benchmarks.md ("Recommending"), earlier searches chose 2.0 twice and 4.0 twice.
_CONTENT = BlendMember(Content, weight=2.0)
EASEWithContent = blend_class(
    "EASEWithContent", "ease_content", module=__name__, members={"ease": BlendMember(EASE), "content": _CONTENT}
)
ChebyshevWithContent = blend_class(
    "ChebyshevWithContent",
    "chebyshev_content",
    module=__name__,
    members={"chebyshev": BlendMember(ChebyshevFilter), "content": _CONTENT},
)


def _blend_candidate(blend: type[Blend], *directions: tuple[Params, ...], settings: Params | None = None) -> Candidate:
    """A candidate that starts from the default weights, and the best or the given settings of each member."""
    weights = {f"{name}_weight": member.weight for name, member in blend.members.items() if member.weight is not None}
    return Candidate(
        blend,
        {**weights, **(settings or {})},
        directions,
        {name: member.model.name for name, member in blend.members.items()},
    )


# Search directions. The settings of members for a blend with ALS and the first weights were the best on real data sets.
_SMALL_ALS: Params = {"factors": 128, "alpha": 10.0, "regularization": 0.2}
_LARGE_ALS: Params = {"factors": 256, "alpha": 40.0, "regularization": 0.1}
_EASE: Params = {"ridge": 3.0, "weighting": "log1p"}
_CHEBYSHEV: Params = {"rank": 512, "weighting": "binary"}
_ALS_WEIGHTS = (({"als_weight": 0.3},), ({"als_weight": 1.2},))
_CONTENT_WEIGHTS = (({"content_weight": 4.0},), ({"content_weight": 1.0}, {"content_weight": 0.5}))
# Simple models first: the earlier of two equally good models is chosen. The model classes document the source of the
# first settings.
CANDIDATES: Candidates = {
    Popularity.name: Candidate(Popularity),
    GenrePopularity.name: Candidate(GenrePopularity),
    Content.name: Candidate(Content),
    ALS.name: Candidate(
        ALS,
        _SMALL_ALS,
        (
            ({"regularization": 0.1}, {"regularization": 0.05}),
            ({"regularization": 0.4}, {"regularization": 0.8}),
            (_LARGE_ALS, {"regularization": 0.05}),
            ({"factors": 64},),
        ),
    ),
    EASE.name: Candidate(
        EASE,
        _EASE,
        (({"ridge": 10.0}, {"ridge": 30.0}, {"ridge": 100.0}), ({"ridge": 1.0},), ({"weighting": "log1p_third"},)),
    ),
    ChebyshevFilter.name: Candidate(
        ChebyshevFilter, _CHEBYSHEV, (({"weighting": "log1p"},), ({"rank": 128}, {"rank": 64}))
    ),
    EASEWithALS.name: _blend_candidate(
        EASEWithALS, ({"als": _LARGE_ALS},), *_ALS_WEIGHTS, settings={"ease": _EASE, "als": _SMALL_ALS}
    ),
    ChebyshevWithALS.name: _blend_candidate(
        ChebyshevWithALS, ({"als": _SMALL_ALS},), *_ALS_WEIGHTS, settings={"chebyshev": _CHEBYSHEV, "als": _LARGE_ALS}
    ),
    EASEWithContent.name: _blend_candidate(EASEWithContent, *_CONTENT_WEIGHTS),
    ChebyshevWithContent.name: _blend_candidate(ChebyshevWithContent, *_CONTENT_WEIGHTS),
}


def load_model(path: Path, candidates: Candidates = CANDIDATES) -> Recommender:
    """Load a model file, also of a retired model; call `fold_in` before `recommend`. Raises ModelFileError."""
    content = file_format.read(path)
    retired = RETIRED.get((content.model, content.version))
    if content.model not in candidates and retired is None:
        raise ModelFileError(f"{path} is the file of {content.model}, a model that is not in the registry; retrain")
    model_class = retired or candidates[content.model].model_class
    return model_class.load(path)
