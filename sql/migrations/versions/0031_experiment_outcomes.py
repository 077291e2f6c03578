"""Runs `sql/migrations/0031_experiment_outcomes.sql`."""

from alembic import op

from core.queries import load_query

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0031_experiment_outcomes"))
