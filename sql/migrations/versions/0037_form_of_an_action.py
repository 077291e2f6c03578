"""Runs `sql/migrations/0037_form_of_an_action.sql`."""

from alembic import op

from core.queries import load_query

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0037_form_of_an_action"))
