"""Requests that take effect once."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of first answers."""
    op.execute("""
        CREATE TABLE request_ids (
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            request_id uuid NOT NULL,
            call text NOT NULL,
            digest bytea NOT NULL,
            answer bytea NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (user_id, request_id)
        )
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE request_ids")
