"""Whose ticks a session is fed."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what is there already nobody knows."""
    op.execute("ALTER TABLE forward_test_sessions ADD source text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE forward_test_sessions DROP source")
