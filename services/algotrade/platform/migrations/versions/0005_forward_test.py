"""Paper-trading sessions: what they are, what happened in them, and who may write it."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Amounts are decimals of 8 places, event times nanoseconds since the epoch."""
    op.execute("CREATE TYPE session_status AS ENUM ('created', 'running', 'stopping', 'stopped', 'halted')")
    op.execute("""
        CREATE TABLE shards (
            shard integer PRIMARY KEY CHECK (shard >= 0),
            epoch bigint NOT NULL,
            proof_time timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE session_artefacts (
            artefact_hash text PRIMARY KEY CHECK (artefact_hash ~ '^[0-9a-f]{64}$'),
            module bytea NOT NULL
        )
    """)
    _sessions()
    _commands()
    _events()
    op.execute("""
        CREATE TABLE outbox (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            shard integer NOT NULL,
            topic text NOT NULL,
            key text NOT NULL,
            payload bytea NOT NULL,
            headers jsonb NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX outbox_unsent ON outbox (shard, position)")


def _sessions() -> None:
    op.execute("""
        CREATE TABLE forward_test_sessions (
            session_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            session_month date NOT NULL,
            shard integer NOT NULL,
            strategy_id uuid NOT NULL,
            strategy_version integer NOT NULL,
            strategy_snapshot jsonb NOT NULL,
            artefact_hash text NOT NULL REFERENCES session_artefacts,
            symbol varchar(32) NOT NULL,
            from_first_tick boolean NOT NULL,
            session_name varchar(255) NOT NULL,
            settings jsonb NOT NULL,
            parameters jsonb NOT NULL,
            status session_status NOT NULL DEFAULT 'created',
            halt_reason text NOT NULL DEFAULT '',
            correlation_id text NOT NULL DEFAULT '',
            starting_balance decimal(20, 8) NOT NULL,
            current_balance decimal(20, 8) NOT NULL,
            equity decimal(40, 8) NOT NULL,
            last_price decimal(20, 8) NOT NULL DEFAULT 0,
            total_trades integer NOT NULL DEFAULT 0,
            winning_trades integer NOT NULL DEFAULT 0,
            total_pnl decimal(20, 8) NOT NULL DEFAULT 0,
            peak_balance decimal(20, 8) NOT NULL,
            max_drawdown decimal(20, 8) NOT NULL DEFAULT 0,
            warmup_bars integer NOT NULL,
            bars bigint NOT NULL DEFAULT 0,
            last_sequence bigint NOT NULL DEFAULT 0,
            last_tick_sequence bigint NOT NULL DEFAULT 0,
            log_partition integer,
            log_offset bigint,
            orders_from bigint,
            feed_epoch bigint NOT NULL DEFAULT 0,
            warmup_events bigint NOT NULL DEFAULT 0,
            state bytea,
            created_at timestamptz NOT NULL,
            started_at timestamptz,
            stopped_at timestamptz,
            CHECK (status = 'created' OR log_offset IS NOT NULL)
        )
    """)
    op.execute(
        "CREATE INDEX forward_test_sessions_newest ON forward_test_sessions (user_id, created_at DESC, session_id DESC)"
    )
    op.execute("CREATE INDEX idx_forward_test_user_status ON forward_test_sessions (user_id, status)")
    op.execute(
        "CREATE INDEX forward_test_sessions_held ON forward_test_sessions (shard)"
        " WHERE status IN ('running', 'stopping')"
    )
    op.execute("CREATE INDEX forward_test_sessions_artefact ON forward_test_sessions (artefact_hash)")


def _commands() -> None:
    op.execute("""
        CREATE TABLE session_commands (
            session_id uuid NOT NULL REFERENCES forward_test_sessions ON DELETE CASCADE,
            command_id uuid NOT NULL,
            shard integer NOT NULL,
            kind text NOT NULL CHECK (kind IN ('start', 'stop_flatten', 'stop_keep')),
            correlation_id text NOT NULL,
            position bigint GENERATED ALWAYS AS IDENTITY,
            applied boolean NOT NULL DEFAULT false,
            log_partition integer,
            log_offset bigint,
            tick_sequence bigint,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (session_id, command_id)
        )
    """)
    op.execute("CREATE INDEX session_commands_waiting ON session_commands (shard, position) WHERE NOT applied")


def _events() -> None:
    op.execute("""
        CREATE TABLE session_events (
            session_month date NOT NULL,
            session_id uuid NOT NULL REFERENCES forward_test_sessions ON DELETE CASCADE,
            sequence bigint NOT NULL CHECK (sequence > 0),
            kind smallint NOT NULL,
            event_ns bigint NOT NULL,
            tick_sequence bigint NOT NULL,
            node_id text NOT NULL,
            reason text NOT NULL,
            side text NOT NULL,
            price decimal(20, 8) NOT NULL,
            quantity decimal(20, 8) NOT NULL,
            amount decimal(20, 8) NOT NULL,
            fee decimal(20, 8) NOT NULL,
            pnl decimal(20, 8),
            cash decimal(20, 8) NOT NULL,
            PRIMARY KEY (session_month, session_id, sequence)
        ) PARTITION BY RANGE (session_month)
    """)
    op.execute("""
        CREATE TABLE trades (
            session_month date NOT NULL,
            session_id uuid NOT NULL REFERENCES forward_test_sessions ON DELETE CASCADE,
            sequence bigint NOT NULL CHECK (sequence > 0),
            side text NOT NULL,
            quantity decimal(20, 8) NOT NULL,
            entry_ns bigint NOT NULL,
            entry_price decimal(20, 8) NOT NULL,
            exit_ns bigint NOT NULL,
            exit_price decimal(20, 8) NOT NULL,
            fees decimal(20, 8) NOT NULL,
            pnl decimal(20, 8) NOT NULL,
            exit_reason text NOT NULL,
            ambiguous boolean NOT NULL,
            PRIMARY KEY (session_month, session_id, sequence)
        ) PARTITION BY RANGE (session_month)
    """)
    op.execute("""
        CREATE TABLE portfolio_positions (
            session_id uuid PRIMARY KEY REFERENCES forward_test_sessions ON DELETE CASCADE,
            symbol varchar(32) NOT NULL,
            side text NOT NULL,
            quantity decimal(20, 8) NOT NULL,
            average_price decimal(20, 8) NOT NULL,
            entry_ns bigint NOT NULL,
            fees decimal(20, 8) NOT NULL,
            entry_sequence bigint NOT NULL
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute(
        "DROP TABLE outbox, portfolio_positions, trades, session_events, session_commands, forward_test_sessions,"
        " session_artefacts, shards"
    )
    op.execute("DROP TYPE session_status")
