"""Where the bars of backtests and optimisations are from."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what is there already nobody knows."""
    op.execute("ALTER TABLE backtest_results ADD COLUMN source json")
    op.execute("ALTER TABLE optimizations ADD COLUMN source json")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE optimizations DROP COLUMN source")
    op.execute("ALTER TABLE backtest_results DROP COLUMN source")
