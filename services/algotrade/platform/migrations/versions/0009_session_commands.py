"""Sessions can be paused, and told to pause, resume and flatten."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the status and the commands. What is held is said without the new value: its transaction may not use it."""
    op.execute("ALTER TYPE session_status ADD VALUE IF NOT EXISTS 'paused'")
    op.execute("DROP INDEX forward_test_sessions_held")
    op.execute(
        "CREATE INDEX forward_test_sessions_held ON forward_test_sessions (shard)"
        " WHERE status NOT IN ('created', 'stopped', 'halted')"
    )
    _commands("'start', 'stop_flatten', 'stop_keep', 'pause', 'resume', 'flatten'")


def downgrade() -> None:
    """Stop what is paused; a type keeps its values."""
    op.execute("DELETE FROM session_commands WHERE kind IN ('pause', 'resume', 'flatten')")
    _commands("'start', 'stop_flatten', 'stop_keep'")
    op.execute(
        "UPDATE forward_test_sessions SET status = 'stopped', stopped_at = now() WHERE CAST(status AS text) = 'paused'"
    )
    op.execute("DROP INDEX forward_test_sessions_held")
    op.execute(
        "CREATE INDEX forward_test_sessions_held ON forward_test_sessions (shard)"
        " WHERE status IN ('running', 'stopping')"
    )


def _commands(kinds: str) -> None:
    op.execute("ALTER TABLE session_commands DROP CONSTRAINT session_commands_kind_check")
    op.execute(f"ALTER TABLE session_commands ADD CONSTRAINT session_commands_kind_check CHECK (kind IN ({kinds}))")
