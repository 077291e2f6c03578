"""Runs `sql/migrations/0002_warehouse.sql`."""

from alembic import op

from core.database import statement

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0002_warehouse"))
