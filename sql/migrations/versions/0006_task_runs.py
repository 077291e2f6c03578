"""Runs `sql/migrations/0006_task_runs.sql`."""

from alembic import op

from core.queries import load_query

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0006_task_runs"))
