"""Experiments: the models of two publications are served side by side. A hash assigns each user to one of them.

An experiment names two models. Each `recommend` run publishes recommendations of both in one transaction: those of the
control are live, and those of the treatment are served beside them (`ml.experiment_publications`). A row of
`ml.live_publications` without a treatment, such as a rollback, is served to all users.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from core.database import Connection, readable_errors
from core.errors import PublicationError, UnusablePublication, UsageError
from core.file_store import FileStore
from core.queries import load_query
from recommender.data.play_log import PlayWeighting
from recommender.models.champion import Champion
from recommender.models.recipe import Recipe
from recommender.publishing import publication
from recommender.publishing.model_runs import find_champion
from recommender.publishing.publication import Publication
from recommender.publishing.scoring import load_champion_model


@dataclass(frozen=True)
class RunningExperiment:
    """The running experiment, with the model of its treatment.

    `treatment_share` is the fraction of users, from 0 to 1, who get the treatment. `paused_why` is the reason why all
    users get the control; None if the experiment is not paused.
    """

    experiment_id: int
    control_run_id: int
    treatment_share: float
    paused_why: str | None
    treatment: Champion


@dataclass(frozen=True)
class ExperimentState:
    """The newest experiment, which may have ended. See RunningExperiment for `treatment_share` and `paused_why`."""

    experiment_id: int
    control_run_id: int
    control_model: str
    treatment_run_id: int
    treatment_model: str
    treatment_share: float
    why: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    outcome_why: str | None
    control_publication_id: int | None
    treatment_publication_id: int | None
    paused_why: str | None


@readable_errors()
def find_running(connection: Connection, champion: Champion | None) -> RunningExperiment | None:
    """The running experiment. None if there is none, or the champion is not its control. Raises DatabaseError."""
    row = connection.execute(load_query("recommendations/experiments.find_running_experiment")).fetchone()
    if row is None or champion is None:
        return None
    experiment_id, control_run_id, share, paused_why, *model, publication_id = row
    if control_run_id != champion.model_run_id:
        return None
    treatment = _champion(champion.live_id, publication_id, *model)
    return RunningExperiment(experiment_id, control_run_id, share, paused_why, treatment)


@readable_errors()
def newest_experiment(connection: Connection) -> ExperimentState | None:
    """The newest experiment, None before the first. Raises DatabaseError."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(load_query("recommendations/experiments.find_newest_experiment")).fetchone()
    return None if row is None else ExperimentState(**row)


@readable_errors()
def start(
    connection: Connection, models: FileStore, publication_id: int, *, share: float, why: str, now: datetime
) -> int:
    """Record an experiment that compares the model of a publication with the live model, and return its id.

    The next `recommend` run publishes recommendations of both. `share` is the fraction of users, from 0 to 1, who get
    the treatment. Raises UnusablePublication if the publication is unknown, its model is live already, or nothing is
    live; UsageError if another experiment runs; PublicationError if another publication goes live meanwhile;
    ModelFileError or ObjectStoreError if the model file cannot be read; DatabaseError.
    """
    row = connection.execute(
        load_query("recommendations/experiments.find_model_run_of_publication"), {"publication_id": publication_id}
    ).fetchone()
    if row is None:
        raise UnusablePublication(f"there is no publication {publication_id}; ml.publications lists all publications")
    champion = find_champion(connection)
    if champion is None:
        raise UnusablePublication("nothing is live, so there is nothing to compare with; run recommend first")
    treatment = _champion(champion.live_id, publication_id, *row)
    if treatment.model_run_id == champion.model_run_id:
        raise UnusablePublication(
            f"publication {publication_id} is of the live model (model run {champion.model_run_id}); choose a "
            "publication of another model"
        )
    load_champion_model(treatment, models)
    values = {
        "control_run_id": champion.model_run_id,
        "treatment_run_id": treatment.model_run_id,
        "treatment_share": share,
        "why": why,
        "started_at": now,
    }
    with connection.transaction():
        publication.lock_live_publication(connection)
        if publication.newest_live_id(connection) != champion.live_id:
            raise PublicationError("another publication went live during the check; run again")
        row = connection.execute(load_query("recommendations/experiments.start_experiment"), values).fetchone()
    if row is None:
        raise UsageError("an experiment runs already; `moovitamix experiment stop` ends it")
    return int(row[0])


@readable_errors()
def stop(connection: Connection, *, promote: bool, why: str, now: datetime) -> int:
    """End the running experiment in one transaction, and return the id of the publication that is live afterwards.

    All users get the control again. With `promote`, the publication of the treatment goes live instead. Raises
    UsageError if no experiment runs; PublicationError if nothing is live, or with `promote` if the treatment is not
    served; DatabaseError.
    """
    with connection.transaction():
        publication.lock_live_publication(connection)
        served_treatment = connection.execute(
            load_query("recommendations/experiments.find_served_treatment")
        ).fetchone()
        outcome = "promoted" if promote else "stopped"
        ended_experiment = connection.execute(
            load_query("recommendations/experiments.end_experiment"), {"ended_at": now, "outcome": outcome, "why": why}
        ).fetchone()
        if ended_experiment is None:
            raise UsageError("no experiment runs")
        (experiment_id,) = ended_experiment
        is_served = served_treatment is not None and served_treatment[0] == experiment_id
        if promote and not is_served:
            raise PublicationError(
                f"experiment {experiment_id} is paused, so its treatment has no current recommendations; "
                "run recommend first"
            )
        champion = find_champion(connection)
        if champion is None:
            raise PublicationError("nothing is live; run recommend first")
        live_id = served_treatment[1] if promote and served_treatment is not None else champion.publication_id
        if is_served:
            reason = f"experiment {experiment_id} {outcome}: {why}"
            publication.go_live(connection, Publication(live_id), now, reason)
    return int(live_id)


@readable_errors()
def record_pause(connection: Connection, experiment_id: int, why: str | None) -> None:
    """Record why the newest recommendations have no treatment. None means that they have one. Raises DatabaseError."""
    values = {"experiment_id": experiment_id, "why": why}
    connection.execute(load_query("recommendations/experiments.record_pause"), values)


def _champion(live_id: int, publication_id: int, *model: Any) -> Champion:
    model_run_id, name, params, model_file, model_digest, data_as_of = model
    recipe = Recipe(name, params.get("settings", {}), PlayWeighting(**params.get("options", {})))
    return Champion(live_id, publication_id, model_run_id, recipe, model_file, model_digest, data_as_of)
