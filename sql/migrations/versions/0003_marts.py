"""Runs `sql/migrations/0003_marts.sql`."""

from alembic import op

from core.database import statement

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0003_marts"))
