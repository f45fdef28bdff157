"""An index by which the audit log of one domain is read."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index; the rows that there are come into it."""
    domain = sa.text("replace(login, rtrim(login, replace(login, '@', '')), '')")
    op.create_index("ix_audit_domain_at", "audit", [domain, "at"])
