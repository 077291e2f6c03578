"""Runs `sql/migrations/0005_quality.sql`."""

from alembic import op

from core.database import statement

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0005_quality"))
