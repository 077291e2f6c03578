"""What the users of an experiment did on a day, and the comparison of its variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from core.database import Connection, readable_errors
from core.frames import read_frame
from core.queries import load_query
from recommender.monitoring.sequential_test import UserTotals, VariantComparison, compare

# One row per user and experiment: experiment_id, user_id, is_treatment, ndcg, useful, plays, has_list.
Outcomes = Sequence[Mapping[str, Any]]

# The two metrics that decide share an error of 5 %. A guardrail has one of its own: it can only prevent a promotion.
_ERROR = 0.05
# The treatment may recommend at most this much less of the catalogue, as a share.
_MAX_LOSS_OF_COVERAGE = 0.2
# Users divide as planned, and failures divide like users, if shares differ by fewer standard errors than this.
_MAX_IMBALANCE = 4.0
_VARIANTS = {"live_id": pl.Int64(), "experiment_id": pl.Int64(), "control": pl.Int64(), "treatment": pl.Int64()}
_TOTALS: Mapping[str, pl.DataType] = {
    **{"user_id": pl.Int64(), "is_treatment": pl.Int64()},
    **{"ndcg_n": pl.Int64(), "ndcg": pl.Float64(), "ndcg_squares": pl.Float64()},
    **{"useful_n": pl.Int64(), "useful": pl.Float64(), "useful_squares": pl.Float64()},
    **{"plays_n": pl.Int64(), "plays": pl.Float64(), "plays_squares": pl.Float64()},
    **{"without_list_n": pl.Int64(), "without_list": pl.Float64(), "failed": pl.Int64()},
}


@dataclass(frozen=True, eq=False)
class ExperimentVariants:
    """The publications of experiments that ran on a day: one row per live row with a treatment."""

    rows: pl.DataFrame

    def without_treatment(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows whose `publication_id` was not that of a treatment."""
        if "live_id" not in rows.columns:
            return rows.filter(~pl.col("publication_id").is_in(self.rows["treatment"].implode()))
        treatments = self.rows.select("live_id", pl.col("treatment").alias("publication_id"))
        return rows.join(treatments, on=["live_id", "publication_id"], how="anti", maintain_order="left")

    def outcomes(self, user_days: pl.DataFrame, gains: pl.DataFrame, answers: pl.DataFrame) -> Outcomes:
        """The outcomes of users who got a variant of an experiment; `gains` are their NDCG."""
        if self.rows.is_empty():
            return []
        played = (
            user_days.join(self.rows, on="live_id")
            .join(gains, on=["user_id", "publication_id"], how="left")
            .select(
                "experiment_id",
                "user_id",
                (pl.col("publication_id") == pl.col("treatment")).alias("is_treatment"),
                "ndcg",
                "plays",
                (pl.col("has_list") == 1).alias("has_list"),
            )
        )
        variants = pl.concat(
            self.rows.select(
                "experiment_id", pl.col(name).alias("publication_id"), pl.lit(is_treatment).alias("is_treatment")
            )
            for name, is_treatment in (("control", False), ("treatment", True))
        ).unique()
        answered = (
            answers.join(variants, on="publication_id")
            .group_by("experiment_id", "user_id", "is_treatment")
            .agg(pl.col("useful").mean())
        )
        keys = ["experiment_id", "user_id", "is_treatment"]
        return (
            played.join(answered, on=keys, how="full", coalesce=True)
            .with_columns(pl.col("plays").fill_null(0))
            .sort(keys)
            .to_dicts()
        )


def read_variants(connection: Connection, day: date) -> ExperimentVariants:
    """Read the publications of the experiments of a day. Raises psycopg.Error."""
    rows = connection.execute(
        load_query("quality/experiment_outcomes.find_experiment_publications"), {"day": day}
    ).fetchall()
    return ExperimentVariants(pl.DataFrame(rows, schema=_VARIANTS, orient="row"))


def save_outcomes(connection: Connection, day: date, outcomes: Outcomes) -> None:
    """Save the outcomes of users who were exposed to their variant. Raises psycopg.Error."""
    if not outcomes:
        return
    values = {
        "day": day,
        "experiment_ids": [outcome["experiment_id"] for outcome in outcomes],
        "user_ids": [outcome["user_id"] for outcome in outcomes],
        "are_treatment": [outcome["is_treatment"] for outcome in outcomes],
        "ndcg": [outcome["ndcg"] for outcome in outcomes],
        "useful": [outcome["useful"] for outcome in outcomes],
        "plays": [outcome["plays"] for outcome in outcomes],
        "have_list": [outcome["has_list"] for outcome in outcomes],
    }
    connection.execute(load_query("quality/experiment_outcomes.insert_outcomes"), values)


@dataclass(frozen=True)
class ExperimentResult:
    """The comparison of both variants. A metric is None while a variant has no user with a value.

    `coverage` is the share of the catalogue that the newest lists of control and treatment contain. `failed_users` are
    the users of both with a request that failed with an error of the server. `problems` are guardrails that the
    treatment violates. `verdict` is better, worse or undecided.
    """

    ndcg: VariantComparison | None
    useful: VariantComparison | None
    plays: VariantComparison | None
    without_list: tuple[float, float] | None
    coverage: tuple[float, float] | None
    control_users: int
    treatment_users: int
    failed_users: tuple[int, int]
    problems: tuple[str, ...]

    @property
    def verdict(self) -> str:
        deciding = [comparison for comparison in (self.ndcg, self.useful) if comparison is not None]
        if self.problems or any(comparison.is_worse for comparison in deciding):
            return "worse"
        return "better" if any(comparison.is_better for comparison in deciding) else "undecided"


@readable_errors()
def evaluate_experiment(connection: Connection, experiment_id: int, treatment_share: float, k: int) -> ExperimentResult:
    """Compare the variants of an experiment by all days that the monitor has evaluated. Raises DatabaseError."""
    values = {"experiment_id": experiment_id, "k": k}
    users = read_frame(connection, "quality/experiment_outcomes.copy_user_totals", _TOTALS, values)
    coverage = connection.execute(load_query("quality/experiment_outcomes.find_coverage"), values).fetchone()
    is_treatment = users["is_treatment"].to_numpy() == 1
    ndcg, useful = (_compare(users, is_treatment, name, _ERROR / 2) for name in ("ndcg", "useful"))
    plays = _compare(users, is_treatment, "plays", _ERROR)
    without_list = _shares_without_list(users, is_treatment)
    counts = int((~is_treatment).sum()), int(is_treatment.sum())
    failed = users["failed"].to_numpy()
    failed_users = int(failed[~is_treatment].sum()), int(failed[is_treatment].sum())
    problems = _problems(plays, without_list, coverage, counts, treatment_share)
    problems += _problems_of_failures(failed_users, counts)
    return ExperimentResult(ndcg, useful, plays, without_list, coverage, *counts, failed_users, tuple(problems))


def _compare(users: pl.DataFrame, is_treatment: Any, name: str, error: float) -> VariantComparison | None:
    columns = (users[column].to_numpy() for column in (f"{name}_n", name, f"{name}_squares"))
    return compare(UserTotals(is_treatment, *columns), error)


def _shares_without_list(users: pl.DataFrame, is_treatment: Any) -> tuple[float, float] | None:
    """The share of user-days with plays on which the user had no recommendations of their own, of both variants."""
    days, without = users["without_list_n"].to_numpy(), users["without_list"].to_numpy()
    groups = [~is_treatment, is_treatment]
    if not all(days[group].sum() for group in groups):
        return None
    control, treatment = (float(without[group].sum() / days[group].sum()) for group in groups)
    return control, treatment


def _problems(
    plays: VariantComparison | None,
    without_list: tuple[float, float] | None,
    coverage: tuple[float, float] | None,
    users: tuple[int, int],
    treatment_share: float,
) -> list[str]:
    problems = []
    if plays is not None and plays.is_worse:
        problems.append("users of the treatment listen less")
    if without_list is not None and without_list[1] > without_list[0] + 0.01:
        problems.append("more users of the treatment have no recommendations of their own")
    if coverage is not None and coverage[1] < coverage[0] * (1 - _MAX_LOSS_OF_COVERAGE):
        problems.append("the treatment recommends much less of the catalogue")
    total = sum(users)
    error = float(np.sqrt(total * treatment_share * (1 - treatment_share)))
    if total and abs(users[1] - total * treatment_share) > _MAX_IMBALANCE * error:
        problems.append("users are not divided as planned, so exposures are lost or repeated; do not trust the result")
    return problems


def _problems_of_failures(failed_users: tuple[int, int], users: tuple[int, int]) -> list[str]:
    """If the variant makes no difference, failed users divide like all users. Failures of one user come together."""
    failed, share = sum(failed_users), users[1] / max(1, sum(users))
    error = float(np.sqrt(failed * share * (1 - share)))
    is_worse = failed_users[1] - failed * share > _MAX_IMBALANCE * error
    return ["requests of more users of the treatment fail"] if error and is_worse else []
