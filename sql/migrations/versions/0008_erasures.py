"""Runs `sql/migrations/0008_erasures.sql`."""

from alembic import op

from core.database import statement

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0008_erasures"))
