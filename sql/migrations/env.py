"""How Alembic runs our migrations: on the connection it is given, all of them in one transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="moovitamix_schema_version")
with context.begin_transaction():
    context.run_migrations()
