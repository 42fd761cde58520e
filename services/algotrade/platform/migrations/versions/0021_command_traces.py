"""A command of a session carries the trace of the call that gave it."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. An earlier release leaves it out, and its commands have no trace."""
    op.execute("ALTER TABLE session_commands ADD COLUMN traceparent text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE session_commands DROP COLUMN traceparent")
