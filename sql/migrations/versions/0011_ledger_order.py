"""Runs `sql/migrations/0011_ledger_order.sql`."""

from alembic import op

from core.database import statement

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0011_ledger_order"))
