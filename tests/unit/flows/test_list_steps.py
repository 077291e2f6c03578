"""What the ledger is told of a training that ended otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import ModelError
from flows.recommendation_tasks import record_training_failure
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs
from recommender.publishing.model_runs import TrainingOutcome


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyboardInterrupt(), "it was interrupted: nothing of it was published"),
        (ModelError("no model is left"), "no model is left"),
        (KeyError("x"), "unforeseen KeyError; please report it"),
    ],
)
def test_an_end_by_somebody_is_no_defect(error: BaseException, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TrainingOutcome] = []

    def decide(_connection: Any, _run: int, outcome: TrainingOutcome, _now: Any) -> None:
        told.append(outcome)

    monkeypatch.setattr(model_runs, "record_outcome", decide)
    run: Any = SimpleNamespace(connection=None, clock=lambda: None)
    record_training_failure(run, 1, Recipe("ease"), error)
    assert [(outcome.decision, outcome.why) for outcome in told] == [("failed", why)]
