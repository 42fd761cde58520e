"""Backtests: what they depend on, where they stand, and what came of them."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Amounts are integers of 1e-8, event times nanoseconds since the epoch."""
    op.execute("CREATE TYPE backtest_state AS ENUM ('queued', 'running', 'succeeded', 'failed', 'cancelled')")
    op.execute("""
        CREATE TABLE backtest_artefacts (
            artefact_hash text PRIMARY KEY CHECK (artefact_hash ~ '^[0-9a-f]{64}$'),
            module bytea NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE backtest_data (
            data_hash text PRIMARY KEY CHECK (data_hash ~ '^[0-9a-f]{64}$'),
            bars bytea NOT NULL,
            bar_count bigint NOT NULL CHECK (bar_count > 0)
        )
    """)
    op.execute("""
        CREATE TABLE backtest_results (
            backtest_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            name text NOT NULL,
            strategy_id uuid,
            strategy_version integer NOT NULL,
            graph text NOT NULL,
            artefact_hash text NOT NULL REFERENCES backtest_artefacts,
            data_hash text NOT NULL REFERENCES backtest_data,
            settings json NOT NULL,
            parameters json NOT NULL,
            rerun_of uuid,
            state backtest_state NOT NULL DEFAULT 'queued',
            failure text NOT NULL DEFAULT '',
            attempt integer NOT NULL DEFAULT 0,
            worker uuid,
            lease_until timestamptz,
            cancel_requested boolean NOT NULL DEFAULT false,
            done_bars bigint NOT NULL DEFAULT 0,
            total_bars bigint NOT NULL CHECK (total_bars > 0),
            create_time timestamptz NOT NULL,
            start_time timestamptz,
            end_time timestamptz,
            summary json,
            metrics json,
            equity bytea,
            CHECK ((state = 'running') = (lease_until IS NOT NULL)),
            CHECK ((state = 'succeeded') = (summary IS NOT NULL))
        )
    """)
    op.execute("CREATE INDEX backtest_results_newest ON backtest_results (user_id, create_time DESC, backtest_id DESC)")
    op.execute(
        "CREATE INDEX backtest_results_waiting ON backtest_results (create_time, backtest_id)"
        " WHERE state IN ('queued', 'running')"
    )
    op.execute("CREATE INDEX backtest_results_data ON backtest_results (data_hash)")
    op.execute("CREATE INDEX backtest_results_artefact ON backtest_results (artefact_hash)")
    op.execute("""
        CREATE TABLE backtest_trades (
            backtest_id uuid NOT NULL REFERENCES backtest_results ON DELETE CASCADE,
            number integer NOT NULL CHECK (number > 0),
            side text NOT NULL,
            quantity bigint NOT NULL,
            entry_ns bigint NOT NULL,
            entry_price bigint NOT NULL,
            exit_ns bigint,
            exit_price bigint,
            fees bigint NOT NULL,
            pnl bigint,
            exit_reason text,
            ambiguous boolean NOT NULL,
            PRIMARY KEY (backtest_id, number)
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE backtest_trades, backtest_results, backtest_data, backtest_artefacts")
    op.execute("DROP TYPE backtest_state")
