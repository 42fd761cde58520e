"""Run by Alembic: the connection and its transaction come from the caller."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
