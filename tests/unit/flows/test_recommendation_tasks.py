"""The record of a training that failed."""

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
        (KeyError("x"), "unexpected KeyError; please report it"),
    ],
)
def test_training_failure_records_its_reason(error: BaseException, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[TrainingOutcome] = []

    def record_outcome(_connection: Any, _run: int, outcome: TrainingOutcome, _now: Any) -> None:
        outcomes.append(outcome)

    monkeypatch.setattr(model_runs, "record_outcome", record_outcome)
    run: Any = SimpleNamespace(connection=None, clock=lambda: None)
    record_training_failure(run, 1, Recipe("ease"), error)
    assert [(outcome.decision, outcome.why) for outcome in outcomes] == [("failed", why)]
