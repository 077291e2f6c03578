"""Alembic runs our migrations on the connection it is given, all of them in one transaction."""

from alembic import context

from core.queries import load_query

connection = context.config.attributes["connection"]
# The version table is in our schema, so that no role needs a right on `public`.
connection.exec_driver_sql("create schema if not exists ops")
connection.exec_driver_sql(load_query("roles/create_roles"))
context.configure(connection=connection, version_table="schema_version", version_table_schema="ops")
with context.begin_transaction():
    context.run_migrations()
