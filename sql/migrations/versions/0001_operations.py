"""Runs `sql/migrations/0001_operations.sql`."""

from alembic import op

from core.database import statement

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0001_operations"))
