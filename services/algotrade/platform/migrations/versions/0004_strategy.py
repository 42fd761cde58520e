"""Strategies, their versions, and what they compile to."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. A graph is text: the very bytes that were saved, which only the compiler reads."""
    op.execute("""
        CREATE TABLE artefacts (
            artefact_hash text PRIMARY KEY CHECK (artefact_hash ~ '^[0-9a-f]{64}$'),
            module bytea NOT NULL,
            report json NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE strategies (
            strategy_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            name text NOT NULL,
            description text NOT NULL,
            create_time timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX strategies_newest ON strategies (user_id, create_time DESC, strategy_id DESC)")
    op.execute("""
        CREATE TABLE strategy_versions (
            strategy_id uuid NOT NULL REFERENCES strategies ON DELETE CASCADE,
            version integer NOT NULL CHECK (version > 0),
            graph text NOT NULL,
            artefact_hash text REFERENCES artefacts,
            create_time timestamptz NOT NULL,
            PRIMARY KEY (strategy_id, version)
        )
    """)
    op.execute("CREATE INDEX strategy_versions_artefact ON strategy_versions (artefact_hash)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE strategy_versions, strategies, artefacts")
