"""Messages of notify nodes are counted in one entry, as rejections are."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index both."""
    op.execute("DROP INDEX notifications_rejections")
    op.execute(
        "CREATE INDEX notifications_counted ON notifications (session_id, node_id, reason, sequence)"
        " WHERE kind IN (4, 9)"
    )


def downgrade() -> None:
    """Index rejections only."""
    op.execute("DROP INDEX notifications_counted")
    op.execute(
        "CREATE INDEX notifications_rejections ON notifications (session_id, node_id, reason, sequence) WHERE kind = 4"
    )
