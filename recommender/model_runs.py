"""The ledger of trainings: what was learned from what, how good it is, what became of it, and which model is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from psycopg.types.json import Jsonb

from core.database import Connection, readable_errors, statement
from core.errors import DatabaseError, ModelFileError
from recommender.models import file_format
from recommender.models.base import Recommender
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.play_log import AS_PLAYED, Options
from recommender.registry import CANDIDATES, Candidates, load_model

Decision = Literal["published", "fallback", "kept", "blocked", "failed"]
# Why a training is held.
Cause = Literal["asked", "degradation", "age"]
_ANSWERS: tuple[Decision, ...] = ("published", "fallback", "kept")
# They are the same for many listeners, and learned anew in no time: nothing is kept of them in a file.
POPULARITIES = (Popularity.name, GenrePopularity.name)


@dataclass(frozen=True)
class Recipe:
    """A model, its settings, and how plays are weighed for it: enough to train it again."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Options = AS_PLAYED

    @property
    def params(self) -> dict[str, Any]:
        """As `ml.model_runs.params` holds it."""
        return {"settings": dict(self.settings), "options": asdict(self.options)}

    @property
    def personal(self) -> bool:
        """Whether its lists are meant to differ from listener to listener."""
        return self.model not in POPULARITIES

    def __str__(self) -> str:
        said = [f"{name}={value}" for name, value in self.settings.items()]
        said += [str(self.options)] if self.options != AS_PLAYED else []
        return f"{self.model} ({', '.join(said)})" if said else self.model


@dataclass(frozen=True)
class Champion:
    """The model behind the list that is live. `data_as_of` is when its plays end."""

    live_id: int
    publication_id: int
    model_run_id: int
    recipe: Recipe
    model_file: str | None
    model_digest: str | None
    data_as_of: datetime

    def load(self, models: Path, candidates: Candidates = CANDIDATES) -> Recommender:
        """What it learned, from its file. Raises ModelFileError when it is missing, or not the one that was written."""
        if self.model_file is None:
            raise ModelFileError(f"no file was kept of model run {self.model_run_id} ({self.recipe}); retrain")
        path = models / self.model_file
        if file_format.digest(path) != self.model_digest:
            raise ModelFileError(f"the model file {path} is not the one that was written; restore it, or retrain")
        return load_model(path, candidates)


@dataclass(frozen=True)
class Outcome:
    """What became of a training."""

    recipe: Recipe
    decision: Decision
    why: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    model_file: str | None = None
    model_digest: str | None = None


@readable_errors()
def champion(connection: Connection) -> Champion | None:
    """The model behind what is live, None before the first publication. Raises DatabaseError."""
    row = connection.execute(statement("recommendations/live")).fetchone()
    if row is None:
        return None
    live_id, publication_id, model_run_id, model, params, model_file, model_digest, data_as_of = row
    recipe = Recipe(model, params.get("settings", {}), Options(**params.get("options", {})))
    return Champion(live_id, publication_id, model_run_id, recipe, model_file, model_digest, data_as_of)


@readable_errors()
def start(
    connection: Connection,
    *,
    recipe: Recipe,
    seed: int,
    data_as_of: datetime,
    batches: Sequence[str],
    code_version: str,
    now: datetime,
    cause: Cause = "asked",
) -> int:
    """Note that a training began; one for degradation takes up the open alarms. Returns its number.

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
        row = connection.execute(statement("recommendations/start_model_run"), values).fetchone()
        if row is None:
            raise DatabaseError("Postgres gave no number to a model run; see its log")
        if cause == "degradation":
            taken = {"model_run_id": row[0], "data_as_of": data_as_of}
            connection.execute(statement("quality/take_up_alarms"), taken)
    return int(row[0])


@readable_errors()
def close_abandoned(connection: Connection, now: datetime) -> int:
    """Note of trainings that are still open that they were cut off. The caller holds the lock of trainings.

    Returns how many there were. Raises DatabaseError.
    """
    with connection.transaction():
        closed = connection.execute(statement("recommendations/close_abandoned"), {"finished_at": now}).fetchall()
        for (model_run_id,) in closed:
            connection.execute(statement("quality/decide_training"), {"model_run_id": model_run_id})
    return len(closed)


@readable_errors()
def decide(connection: Connection, model_run_id: int, outcome: Outcome, now: datetime) -> None:
    """Write down what became of a training, which answers the alarms it took up unless it failed, in one transaction.

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
        if not connection.execute(statement("recommendations/decide_model_run"), values).rowcount:
            return  # it is live already
        connection.execute(statement("quality/decide_training"), {"model_run_id": model_run_id})
        if outcome.decision in _ANSWERS:
            answer = {"answer": outcome.decision, "answered_at": now, "model_run_id": model_run_id}
            connection.execute(statement("quality/answer_alarms"), answer)
