"""A feed may be CLOSED, as its exchange is."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_CHECKS = (("symbol_leases", "last_state"), ("forward_test_sessions", "feed_state"))


def upgrade() -> None:
    """Let the state be 4."""
    _check(4)


def downgrade() -> None:
    """Take those that are for stale: nothing else holds entries back and lets exits go on."""
    for table, column in _CHECKS:
        op.execute(f"UPDATE {table} SET {column} = 3 WHERE {column} = 4")  # noqa: S608
    _check(3)


def _check(most: int) -> None:
    for table, column in _CHECKS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_check")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_check CHECK ({column} BETWEEN 1 AND {most})")
