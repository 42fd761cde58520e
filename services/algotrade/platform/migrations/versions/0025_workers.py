"""The workers of sessions: who there is, and who works on which shard."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the roster. A worker's name outlives its process; the incarnation is that of the process."""
    op.execute("""
        CREATE TABLE workers (
            name text PRIMARY KEY,
            incarnation uuid NOT NULL,
            seen_time timestamptz NOT NULL
        )
    """)
    op.execute("ALTER TABLE shards ADD COLUMN worker text")


def downgrade() -> None:
    """Drop it: one worker takes every shard."""
    op.execute("ALTER TABLE shards DROP COLUMN worker")
    op.execute("DROP TABLE workers")
