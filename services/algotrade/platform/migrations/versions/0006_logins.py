"""Logins with their refresh tokens, API keys, revoked access tokens, and the audit log."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Of a secret only its SHA-256 is kept: it is random, so nothing slower is needed."""
    op.execute("""
        ALTER TABLE users
            ADD COLUMN token_version bigint NOT NULL DEFAULT 0,
            ADD COLUMN audit_actor uuid NOT NULL DEFAULT gen_random_uuid()
    """)
    op.execute("""
        CREATE TABLE logins (
            login_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            create_time timestamptz NOT NULL,
            expire_time timestamptz NOT NULL,
            end_time timestamptz
        )
    """)
    op.execute("CREATE INDEX logins_newest ON logins (user_id, create_time DESC)")
    op.execute("""
        CREATE TABLE refresh_tokens (
            token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
            login_id uuid NOT NULL REFERENCES logins ON DELETE CASCADE,
            expire_time timestamptz NOT NULL,
            use_time timestamptz
        )
    """)
    op.execute("CREATE INDEX refresh_tokens_login ON refresh_tokens (login_id)")
    op.execute("""
        CREATE TABLE api_keys (
            api_key_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            name text NOT NULL,
            secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
            create_time timestamptz NOT NULL,
            expire_time timestamptz,
            last_use_time timestamptz
        )
    """)
    op.execute("CREATE INDEX api_keys_newest ON api_keys (user_id, create_time DESC, api_key_id DESC)")
    op.execute("""
        CREATE TABLE token_revocations (
            subject text PRIMARY KEY,
            least_version bigint NOT NULL,
            revoke_time timestamptz NOT NULL DEFAULT now()
        )
    """)
    _create_audit_log()


def _create_audit_log() -> None:
    op.execute("""
        CREATE TABLE audit_log (
            number bigint PRIMARY KEY CHECK (number > 0),
            event_time timestamptz NOT NULL,
            actor uuid,
            action text NOT NULL,
            facts jsonb NOT NULL,
            correlation_id text NOT NULL,
            hash bytea NOT NULL CHECK (length(hash) = 32)
        )
    """)
    op.execute("""
        CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$
    """)
    op.execute("""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_log
        FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only()
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE audit_log, token_revocations, api_keys, refresh_tokens, logins")
    op.execute("DROP FUNCTION audit_log_is_append_only")
    op.execute("ALTER TABLE users DROP COLUMN audit_actor, DROP COLUMN token_version")
