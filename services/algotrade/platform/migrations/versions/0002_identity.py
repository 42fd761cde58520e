"""What identity knows of a user."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add address, name and password hash to the users."""
    op.execute("""
        ALTER TABLE users
            ADD COLUMN email text NOT NULL UNIQUE CHECK (email = lower(email)),
            ADD COLUMN display_name text NOT NULL,
            ADD COLUMN password_hash text NOT NULL
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE users DROP COLUMN password_hash, DROP COLUMN display_name, DROP COLUMN email")
