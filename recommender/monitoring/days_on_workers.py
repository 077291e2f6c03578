"""Measure the plays of several days on workers of a cluster, which read the database with a login of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from compute.blocks import BlockJob, BlockRunner
from core.database import connect
from core.errors import SettingsError
from core.queries import load_query
from core.roles import RECOMMENDER, ensure_schema_for_role
from core.settings import load_settings
from recommender.monitoring.daily_quality import DayQuality, measure_plays


@dataclass(frozen=True)
class DayMeasurement:
    """The data with which a worker measures days. It holds no login. `run_id` and `run_started_at` name the run."""

    k: int
    now: datetime
    run_id: int
    run_started_at: datetime

    def measure(self, day: date) -> DayQuality:
        """Measure the plays of a day with the login of this machine.

        Raises SettingsError if it is not the database of the run, and DatabaseError.
        """
        url = ensure_schema_for_role(load_settings(), RECOMMENDER)
        values = {"run_id": self.run_id, "started_at": self.run_started_at}
        with connect(url) as connection, connection.transaction():
            if connection.execute(load_query("ops/runs.find_run"), values).fetchone() is None:
                raise SettingsError(
                    "wrong setting: RECOMMENDER_DATABASE_URL of a worker is not the database of the run; correct it"
                )
            return measure_plays(connection, day, self.k, self.now)


MEASURE_DAYS: BlockJob[DayMeasurement, date, DayQuality] = BlockJob(
    "measure days", DayMeasurement.measure, resource=RECOMMENDER, describe=lambda _, day: str(day)
)


def measure_days(runner: BlockRunner, measurement: DayMeasurement, days: Sequence[date]) -> dict[date, DayQuality]:
    """Measure the plays of several days at once. Empty for one day, or if no worker has a login.

    Raises ComputeError, SettingsError, DatabaseError.
    """
    if len(days) < 2 or not runner.has_workers(RECOMMENDER):
        return {}
    return {days[number]: quality for number, quality in runner.run(MEASURE_DAYS, measurement, days)}
