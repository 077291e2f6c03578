"""Runs `sql/migrations/0035_experiment_errors.sql`."""

from alembic import op

from core.queries import load_query

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0035_experiment_errors"))
