"""Reports of a training."""

from __future__ import annotations

import pytest

from flows.recommendation_tasks import TrainingResult
from flows.training_reports import models_table, print_training
from recommender.evaluation.promotion import PromotionDecision
from recommender.models.recipe import Recipe

EASE = {
    "settings": {"ridge": 3.0, "als": {"factors": 8}},
    "options": "as played",
    "ndcg_choosing": 0.3,
    "recall": 0.22222,
    "ndcg": 0.33333,
    "coverage": 0.5,
    "novelty": 4.0,
    "fit_seconds": 0.1,
    "score_seconds": 0.2,
    "peak_memory_mb": 60,
}


def test_every_model_has_all_columns_with_figures_first() -> None:
    """The UI shows the columns of the first row only."""
    best, excluded = models_table({"models": {"ease": EASE}, "out": {"als": "ran past its time limit of 3 s"}})
    assert list(best) == list(excluded)
    assert list(best)[:2] == ["model", "ndcg"]
    assert best["ndcg"] == 0.3333
    assert best["settings"] == "ridge=3.0 als.factors=8"
    assert (excluded["model"], excluded["out"], excluded["ndcg"]) == ("als", "ran past its time limit of 3 s", "")


def test_table_is_empty_without_a_model_search() -> None:
    assert models_table({"exam": "too few users"}) == []


def test_command_prints_excluded_models_with_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    decision = PromotionDecision(Recipe("ease"), "kept", "the champion stays", {"out": {"als": "ran out of memory"}})
    print_training(TrainingResult(7, decision, None))
    assert capsys.readouterr().out == "excluded: als, ran out of memory\nmodel run 7: kept: the champion stays\n"
