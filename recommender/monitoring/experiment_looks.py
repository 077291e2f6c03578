"""Looks at an experiment: the comparison of its variants after each evaluated day. They have no users, so they stay."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime

import msgspec
from psycopg.types.json import Jsonb

from core.database import Connection, readable_errors
from core.queries import load_query
from recommender.monitoring.experiment_outcomes import ExperimentResult, evaluate_experiment


@dataclass(frozen=True)
class Look:
    """The result of an experiment by all days up to `day`. It is the look number `number`."""

    day: date
    number: int
    result: ExperimentResult


def save_looks(connection: Connection, day: date, k: int, now: datetime) -> None:
    """Compare the variants of each experiment that ran on a day, and record the result.

    The outcomes and the verdict of the day are recorded before. Raises DatabaseError.
    """
    query = load_query("quality/experiment_looks.find_exposed_experiments")
    for experiment_id, treatment_share in connection.execute(query, {"day": day}).fetchall():
        result = evaluate_experiment(connection, experiment_id, treatment_share, k)
        content = asdict(result) | {"verdict": result.verdict}
        values = {"experiment_id": experiment_id, "day": day, "looked_at": now, "result": Jsonb(content)}
        connection.execute(load_query("quality/experiment_looks.save_look"), values)


@readable_errors()
def newest_look(connection: Connection, experiment_id: int) -> Look | None:
    """The newest look at an experiment, None before its first evaluated day. Raises DatabaseError."""
    query, values = load_query("quality/experiment_looks.find_newest_look"), {"experiment_id": experiment_id}
    row = connection.execute(query, values).fetchone()
    return None if row is None else Look(row[0], row[2], msgspec.convert(row[1], ExperimentResult))
