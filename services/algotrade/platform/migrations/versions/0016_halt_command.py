"""A session whose past is not what its ticks make of it is told to halt."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KINDS = "'start', 'stop_flatten', 'stop_keep', 'pause', 'resume', 'flatten'"


def upgrade() -> None:
    """Add the command."""
    _commands(f"{_KINDS}, 'halt'")


def downgrade() -> None:
    """Forget the command; what was halted stays so."""
    op.execute("DELETE FROM session_commands WHERE kind = 'halt'")
    _commands(_KINDS)


def _commands(kinds: str) -> None:
    op.execute("ALTER TABLE session_commands DROP CONSTRAINT session_commands_kind_check")
    op.execute(f"ALTER TABLE session_commands ADD CONSTRAINT session_commands_kind_check CHECK (kind IN ({kinds}))")
