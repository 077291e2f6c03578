"""Runs `sql/migrations/0014_pubsub.sql`."""

from alembic import op

from core.queries import load_query

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0014_pubsub"))
