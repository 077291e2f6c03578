"""Runs `sql/migrations/0011_ledger_order.sql`."""

from alembic import op

from core.queries import load_query

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0011_ledger_order"))
