"""Accounts that were removed, so that a source of web passwords does not bring them back."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table. What was removed before this is not known."""
    op.create_table(
        "removed_logins",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
