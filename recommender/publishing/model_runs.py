"""The ledger of trainings: data, metrics and outcome of each model run, and the live model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from core.database import Connection, readable_errors
from core.errors import DatabaseError
from core.queries import load_query
from recommender.data.play_log import PlayWeighting
from recommender.evaluation.promotion import Decision
from recommender.models.champion import Champion
from recommender.models.recipe import Recipe

# Why a training runs.
TrainingCause = Literal["asked", "degradation", "age"]
_ANSWERS: tuple[Decision, ...] = ("published", "fallback", "kept")


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome of a training, as recorded in `ml.model_runs`."""

    recipe: Recipe
    decision: Decision
    why: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    model_file: str | None = None
    model_digest: str | None = None


@readable_errors()
def find_champion(connection: Connection) -> Champion | None:
    """The model of the live publication, None before the first publication. Raises DatabaseError."""
    row = connection.execute(load_query("recommendations/publications.find_live_publication")).fetchone()
    if row is None:
        return None
    live_id, publication_id, model_run_id, model, params, model_file, model_digest, data_as_of = row
    recipe = Recipe(model, params.get("settings", {}), PlayWeighting(**params.get("options", {})))
    return Champion(live_id, publication_id, model_run_id, recipe, model_file, model_digest, data_as_of)


@readable_errors()
def start_model_run(
    connection: Connection,
    *,
    recipe: Recipe,
    seed: int,
    data_as_of: datetime,
    batches: Sequence[str],
    code_version: str,
    now: datetime,
    cause: TrainingCause = "asked",
) -> int:
    """Record the start of a training, and return its id. A training for degradation takes over the open alarms.

    Raises DatabaseError.
    """
    values = {
        "model": recipe.model,
        "params": Jsonb(recipe.params),
        "seed": seed,
        "data_as_of": data_as_of,
        "batches": list(batches),
        "code_version": code_version,
        "cause": cause,
        "started_at": now,
    }
    with connection.transaction():
        row = connection.execute(load_query("recommendations/model_runs.start_model_run"), values).fetchone()
        if row is None:
            raise DatabaseError("Postgres returned no id for the model run; check the log of Postgres")
        if cause == "degradation":
            values = {"model_run_id": row[0], "data_as_of": data_as_of}
            connection.execute(load_query("quality/alarms.assign_alarms"), values)
    return int(row[0])


@readable_errors()
def close_abandoned_model_runs(connection: Connection, now: datetime) -> int:
    """Mark unfinished trainings as failed, and return their number. The caller holds the lock of trainings.

    Raises DatabaseError.
    """
    with connection.transaction():
        closed = connection.execute(
            load_query("recommendations/model_runs.close_abandoned_model_runs"), {"finished_at": now}
        ).fetchall()
        for (model_run_id,) in closed:
            connection.execute(load_query("quality/decisions.insert_training_decision"), {"model_run_id": model_run_id})
    return len(closed)


@readable_errors()
def record_outcome(connection: Connection, model_run_id: int, outcome: TrainingOutcome, now: datetime) -> None:
    """Record the outcome of a training in one transaction. Unless it failed, it answers its alarms.

    Raises DatabaseError.
    """
    values = {
        "model_run_id": model_run_id,
        "model": outcome.recipe.model,
        "params": Jsonb(outcome.recipe.params),
        "metrics": Jsonb(dict(outcome.metrics)),
        "decision": outcome.decision,
        "why": outcome.why,
        "model_file": outcome.model_file,
        "model_digest": outcome.model_digest,
        "finished_at": now,
    }
    with connection.transaction():
        if not connection.execute(load_query("recommendations/model_runs.finish_model_run"), values).rowcount:
            return  # the outcome is already recorded
        connection.execute(load_query("quality/decisions.insert_training_decision"), {"model_run_id": model_run_id})
        if outcome.decision in _ANSWERS:
            answer = {"answer": outcome.decision, "answered_at": now, "model_run_id": model_run_id}
            connection.execute(load_query("quality/alarms.answer_alarms"), answer)
