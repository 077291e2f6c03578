"""Runs `sql/migrations/0007_roles.sql`, then hands tables over to the roles that take them apart."""

from alembic import op

from core.database import statement

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(statement("migrations/0007_roles"))
    for (hand_over,) in connection.exec_driver_sql(statement("roles/to_hand_over")).all():
        connection.exec_driver_sql(hand_over)
