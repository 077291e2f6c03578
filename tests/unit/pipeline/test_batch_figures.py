"""Comparison of the figures of a batch with those of the days before."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from core.endpoints import USERS
from pipeline.batch_figures import OTHER, FigureResult, Measured, PastFigure, compare_with_history, jensen_shannon
from pipeline.batches import Batch

DAY = date(2026, 11, 22)
BATCH = Batch(USERS, DAY, "source")


def genders_after(past: list[PastFigure], parts: dict[str, float]) -> FigureResult:
    results = compare_with_history(Measured({}, parts={"genders": parts}), BATCH, past)
    return next(result for result in results if result.specification.name == "genders")


def past_genders(parts: dict[str, float], days: int = 30, confirmed: int | None = None) -> list[PastFigure]:
    """The same distribution on each day before. `confirmed`: so many days ago a person confirmed an unusual one."""
    return [
        PastFigure(DAY - timedelta(ago), "genders", 0.0, 500, parts, 0.0, ago != confirmed, ago == confirmed)
        for ago in range(days, 0, -1)
    ]


def test_distance_is_that_of_the_definition() -> None:
    assert jensen_shannon({"a": 1.0}, {"b": 1.0}) == pytest.approx(1)
    assert jensen_shannon({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0


def test_missing_category_is_unusual_and_named() -> None:
    result = genders_after(past_genders({"Female": 2_500, "Male": 2_500}), {"Female": 2_500})
    assert not result.is_normal
    assert "0 %, usually 50 %" in result.change or "100 %, usually 50 %" in result.change


def test_distribution_of_few_rows_is_not_compared() -> None:
    result = genders_after(past_genders({"Female": 2_500, "Male": 2_500}), {"Female": 250})
    assert (result.value, result.is_normal) == (None, True)


def test_rare_category_is_not_named() -> None:
    result = genders_after(
        past_genders({"Female": 2_500, "Male": 2_500}), {"Female": 2_500, "Male": 2_500, "ada@example.org": 30}
    )
    assert result.parts == {"Female": 2_500, "Male": 2_500, OTHER: 30}


def test_category_of_the_source_with_the_name_of_the_rest_keeps_its_rows() -> None:
    result = genders_after(past_genders({OTHER: 2_500, "Male": 2_500}), {OTHER: 2_500, "Male": 2_500, "rare": 30})
    assert result.parts == {OTHER: 2_530, "Male": 2_500}
    assert result.is_normal


def test_confirmed_distribution_is_the_new_baseline() -> None:
    before = past_genders({"Female": 2_500, "Male": 2_500}, confirmed=1)
    changed = [*before[:-1], PastFigure(before[-1].day, "genders", 1.0, 500, {"Female": 5_000}, 0.0, False, True)]
    assert genders_after(changed, {"Female": 5_000}).is_normal
    assert not genders_after(before[:-1], {"Female": 5_000}).is_normal
