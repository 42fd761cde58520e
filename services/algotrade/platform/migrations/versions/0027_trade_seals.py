"""Trades in the audit log, by digests of what each session added."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Seals refer to no session: they outlive it, as the audit log outlives accounts."""
    op.execute("""
        CREATE TABLE trade_seals (
            number bigint NOT NULL REFERENCES audit_log,
            session_id uuid NOT NULL,
            actor uuid NOT NULL,
            after_sequence bigint NOT NULL,
            last_sequence bigint NOT NULL,
            trades bigint NOT NULL CHECK (trades > 0),
            digest bytea NOT NULL CHECK (length(digest) = 32),
            PRIMARY KEY (number, session_id)
        )
    """)
    op.execute("""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON trade_seals
        FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only()
    """)
    op.execute("""
        CREATE TABLE sealed_sessions (
            session_id uuid PRIMARY KEY REFERENCES forward_test_sessions ON DELETE CASCADE,
            trades bigint NOT NULL,
            last_sequence bigint NOT NULL
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE sealed_sessions, trade_seals")
