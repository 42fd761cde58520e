"""Optimisations: what they seek, where they stand, their trials, and what they found."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. ``vain`` counts attempts since a trial was stored last; figures are JSON, lists by fold."""
    op.execute("""
        CREATE TABLE optimizations (
            optimization_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            name text NOT NULL,
            strategy_id uuid,
            strategy_version integer NOT NULL,
            graph text NOT NULL,
            artefact_hash text NOT NULL REFERENCES backtest_artefacts,
            data_hash text NOT NULL REFERENCES backtest_data,
            settings json NOT NULL,
            parameters json NOT NULL,
            axes json NOT NULL,
            method text NOT NULL,
            asked_trials integer NOT NULL,
            seed bigint NOT NULL,
            objective text NOT NULL,
            minimize boolean NOT NULL,
            folds integer NOT NULL CHECK (folds >= 0),
            test_share double precision NOT NULL,
            points bigint NOT NULL CHECK (points > 0),
            state backtest_state NOT NULL DEFAULT 'queued',
            failure text NOT NULL DEFAULT '',
            attempt integer NOT NULL DEFAULT 0,
            vain integer NOT NULL DEFAULT 0,
            worker uuid,
            lease_until timestamptz,
            cancel_requested boolean NOT NULL DEFAULT false,
            done_trials integer NOT NULL DEFAULT 0,
            total_trials integer NOT NULL CHECK (total_trials > 0),
            best json,
            outcome json,
            create_time timestamptz NOT NULL,
            start_time timestamptz,
            end_time timestamptz,
            CHECK ((state = 'running') = (lease_until IS NOT NULL)),
            CHECK (state <> 'succeeded' OR outcome IS NOT NULL),
            CHECK (done_trials BETWEEN 0 AND total_trials)
        )
    """)
    op.execute("CREATE INDEX optimizations_newest ON optimizations (user_id, create_time DESC, optimization_id DESC)")
    op.execute(
        "CREATE INDEX optimizations_waiting ON optimizations (create_time, optimization_id)"
        " WHERE state IN ('queued', 'running')"
    )
    op.execute("CREATE INDEX optimizations_data ON optimizations (data_hash)")
    op.execute("CREATE INDEX optimizations_artefact ON optimizations (artefact_hash)")
    op.execute("""
        CREATE TABLE optimization_trials (
            optimization_id uuid NOT NULL REFERENCES optimizations ON DELETE CASCADE,
            number integer NOT NULL CHECK (number >= 0),
            point json NOT NULL,
            in_sample json NOT NULL,
            out_of_sample json NOT NULL,
            PRIMARY KEY (optimization_id, number)
        )
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE optimization_trials, optimizations")
