"""Administrators, disabled accounts, and what API keys are good for."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. A program of the version before writes rows without them, and they are good."""
    op.execute("""
        ALTER TABLE users
            ADD COLUMN is_admin boolean NOT NULL DEFAULT false,
            ADD COLUMN disable_time timestamptz,
            ADD COLUMN disable_reason text NOT NULL DEFAULT ''
    """)
    op.execute("CREATE INDEX users_admins ON users (email) WHERE is_admin")
    op.execute("""
        ALTER TABLE api_keys ADD COLUMN scope text NOT NULL DEFAULT 'trade' CHECK (scope IN ('read', 'trade'))
    """)
    op.execute("CREATE INDEX audit_log_actor ON audit_log (actor, number)")


def downgrade() -> None:
    """Drop them. A key that may only read would become one that may trade, so it goes."""
    op.execute("DROP INDEX audit_log_actor")
    op.execute("DELETE FROM api_keys WHERE scope = 'read'")
    op.execute("ALTER TABLE api_keys DROP COLUMN scope")
    op.execute("ALTER TABLE users DROP COLUMN is_admin, DROP COLUMN disable_time, DROP COLUMN disable_reason")
