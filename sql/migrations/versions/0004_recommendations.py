"""Runs `sql/migrations/0004_recommendations.sql`."""

from alembic import op

from core.database import statement

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0004_recommendations"))
