"""Numbered changes, the processes that apply them, guesses, and what owners should know."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add six tables; those of the first release stay as they are."""
    _changes()
    _processes()
    _guesses()
    _observations()


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _int(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=False)


def _changes() -> None:
    counter = op.create_table(
        "change_counter",
        _key("id", sa.Integer),
        sa.Column("number", BIG, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.bulk_insert(counter, [{"id": 1, "number": 0}])
    op.create_table(
        "changes",
        _key("number", BIG),
        sa.Column("token", sa.Text, nullable=False, unique=True),
        _time("at"),
        _text("kind"),
        sa.Column("account_id", BIG),
        sa.Column("domain_id", BIG),
        _text("takes"),
    )


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.Text, primary_key=True),
        _text("host"),
        _int("pid"),
        _time("started_at"),
        sa.Column("applied", BIG, nullable=False),
    )
    op.create_table(
        "answers",
        _key("number", BIG),
        sa.Column("process_id", sa.Text, primary_key=True),
        _int("ended"),
        _text("report"),
    )


def _guesses() -> None:
    op.create_table(
        "guesses",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("spent", sa.Double, nullable=False),
        _time("at"),
    )
    op.create_index(None, "guesses", ["at"])


def _observations() -> None:
    op.create_table(
        "observations",
        sa.Column("account_id", BIG, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
        *[sa.Column(name, sa.Text, primary_key=True) for name in ("kind", "network", "service", "client")],
        sa.Column("credential_id", BIG, primary_key=True),
        _time("first_at"),
        _time("last_at"),
        _int("count"),
        _int("is_web_password", nullable=True),
    )
