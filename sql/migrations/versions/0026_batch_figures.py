"""Runs `sql/migrations/0026_batch_figures.sql`."""

from alembic import op

from core.queries import load_query

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0026_batch_figures"))
