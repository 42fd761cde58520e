"""Inboxes, and what is sent from them to channels outside."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. An inbox numbers its notifications; its row is locked by who adds some."""
    op.execute("""
        CREATE TABLE inboxes (
            user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
            last_sequence bigint NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE notifications (
            user_id uuid NOT NULL REFERENCES inboxes ON DELETE CASCADE,
            sequence bigint NOT NULL,
            notification_id uuid NOT NULL UNIQUE,
            kind smallint NOT NULL,
            severity smallint NOT NULL,
            title text NOT NULL,
            body text NOT NULL,
            session_id uuid,
            strategy_id uuid,
            symbol text NOT NULL,
            node_id text NOT NULL,
            reason text NOT NULL,
            price text NOT NULL,
            quantity text NOT NULL,
            pnl text NOT NULL,
            count bigint NOT NULL,
            event_sequence bigint NOT NULL,
            last_event_sequence bigint NOT NULL,
            event_ns bigint NOT NULL,
            create_time timestamptz NOT NULL,
            read_time timestamptz,
            PRIMARY KEY (user_id, sequence)
        )
    """)
    op.execute("CREATE INDEX notifications_unread ON notifications (user_id, sequence) WHERE read_time IS NULL")
    op.execute(
        "CREATE INDEX notifications_rejections ON notifications (session_id, node_id, reason, sequence) WHERE kind = 4"
    )
    op.execute("""
        CREATE TABLE notification_positions (
            topic text NOT NULL,
            partition integer NOT NULL,
            next_offset bigint NOT NULL,
            PRIMARY KEY (topic, partition)
        )
    """)
    op.execute("""
        CREATE TABLE notification_channels (
            channel_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            name text NOT NULL,
            sealed_url text NOT NULL,
            service text NOT NULL,
            masked_url text NOT NULL,
            create_time timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX notification_channels_newest ON notification_channels (user_id, create_time, channel_id)")
    op.execute("""
        CREATE TABLE notification_rules (
            rule_id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
            channel_id uuid NOT NULL REFERENCES notification_channels ON DELETE CASCADE,
            kinds smallint[] NOT NULL,
            session_ids uuid[] NOT NULL,
            strategy_ids uuid[] NOT NULL,
            min_severity smallint NOT NULL,
            throttle_seconds integer NOT NULL,
            disabled boolean NOT NULL,
            held_back bigint NOT NULL DEFAULT 0,
            send_time timestamptz,
            create_time timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX notification_rules_newest ON notification_rules (user_id, create_time, rule_id)")
    op.execute("CREATE INDEX notification_rules_channel ON notification_rules (channel_id)")
    op.execute("""
        CREATE TABLE notification_deliveries (
            user_id uuid NOT NULL,
            sequence bigint NOT NULL,
            channel_id uuid NOT NULL REFERENCES notification_channels ON DELETE CASCADE,
            rule_id uuid REFERENCES notification_rules ON DELETE SET NULL,
            held_back bigint NOT NULL,
            state smallint NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            failure text NOT NULL DEFAULT '',
            due_time timestamptz NOT NULL,
            create_time timestamptz NOT NULL,
            end_time timestamptz,
            PRIMARY KEY (user_id, sequence, channel_id),
            FOREIGN KEY (user_id, sequence) REFERENCES notifications ON DELETE CASCADE
        )
    """)
    op.execute("CREATE INDEX notification_deliveries_due ON notification_deliveries (due_time) WHERE state = 1")
    op.execute("CREATE INDEX notification_deliveries_waiting ON notification_deliveries (user_id) WHERE state = 1")
    op.execute("CREATE INDEX notification_deliveries_channel ON notification_deliveries (channel_id)")
    op.execute("CREATE INDEX notification_deliveries_rule ON notification_deliveries (rule_id)")


def downgrade() -> None:
    """Drop them."""
    op.execute("""
        DROP TABLE notification_deliveries, notification_rules, notification_channels, notification_positions,
            notifications, inboxes
    """)
