"""Runs `sql/migrations/0007_roles.sql`, then gives tables to the roles that alter them."""

from alembic import op

from core.queries import load_query

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(load_query("migrations/0007_roles"))
    for (statement,) in connection.exec_driver_sql(load_query("roles/change_table_owners")).all():
        connection.exec_driver_sql(statement)
