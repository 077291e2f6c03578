"""Runs `sql/migrations/0007_roles.sql`."""

from alembic import op

from core.database import statement

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0007_roles"))
