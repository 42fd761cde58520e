"""Wrong passwords in a row, an address each, whether it has an account or not."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. Rows are of the last minutes only; the address is in none of them, its hash is."""
    op.execute("""
        CREATE TABLE password_guesses (
            address_hash bytea PRIMARY KEY,
            count integer NOT NULL,
            last_time timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX password_guesses_by_time ON password_guesses (last_time)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE password_guesses")
