"""A writer that takes a symbol over knows in which state its feed was left, and which trade was the last."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both; feeds were live so far, and had no ids."""
    op.execute("""
        ALTER TABLE symbol_leases
            ADD last_state smallint NOT NULL DEFAULT 1 CHECK (last_state BETWEEN 1 AND 3),
            ADD last_trade_id text NOT NULL DEFAULT ''
    """)


def downgrade() -> None:
    """Forget both."""
    op.execute("ALTER TABLE symbol_leases DROP last_state, DROP last_trade_id")
