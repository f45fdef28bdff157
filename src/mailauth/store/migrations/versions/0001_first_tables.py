"""The tables of the first release."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    _site()
    _domains()
    _accounts()
    _app_passwords()
    _audit()


def _id() -> sa.Column[Any]:
    return sa.Column("id", BIG, sa.Identity(), primary_key=True)


def _int(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _policy() -> list[sa.Column[Any]]:
    return [
        _text("policy"),
        _time("enforce_from"),
        _int("policy_reached"),
        _int("two_factor"),
        _time("two_factor_from"),
        _int("two_factor_reached"),
        _int("max_app_passwords", nullable=True),
    ]


def _account_id() -> sa.Column[Any]:
    return sa.Column("account_id", BIG, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False)


def _site() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _text("store_id"),
        *_policy(),
        _time("created_at", nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "server_keys",
        sa.Column("id", BIG, primary_key=True, autoincrement=False),
        _text("check_value"),
    )


def _domains() -> None:
    op.create_table(
        "domains",
        _id(),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _int("enabled"),
        _int("services"),
        *_policy(),
        _time("created_at", nullable=False),
        sqlite_autoincrement=True,
    )


def _accounts() -> None:
    op.create_table(
        "accounts",
        _id(),
        sa.Column("domain_id", BIG, sa.ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
        sa.Column("login", sa.Text, nullable=False, unique=True),
        _int("enabled"),
        _int("client_logon"),
        _int("services"),
        _int("mode_on"),
        _text("web_record", nullable=True),
        _time("web_changed_at"),
        *_policy(),
        _time("created_at", nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "accounts", ["domain_id", "login"])
    op.create_table(
        "aliases",
        sa.Column("address", sa.Text, primary_key=True),
        _account_id(),
        _time("created_at", nullable=False),
    )
    op.create_index(None, "aliases", ["account_id"])


def _app_passwords() -> None:
    op.create_table(
        "app_passwords",
        _id(),
        _account_id(),
        sa.Column("key_id", BIG, nullable=False),
        _int("selector"),
        _text("record"),
        _text("label"),
        _int("services"),
        _text("networks"),
        _time("expires_at"),
        _int("suspended"),
        _time("created_at", nullable=False),
        _text("created_by"),
        _time("last_used_at"),
        _text("last_used_peer", nullable=True),
        _text("last_used_service", nullable=True),
        _text("last_used_client", nullable=True),
        _time("revoked_at"),
        sa.UniqueConstraint("account_id", "key_id", "selector"),
        sqlite_autoincrement=True,
    )


def _audit() -> None:
    op.create_table(
        "audit",
        _id(),
        _time("at", nullable=False),
        _text("actor"),
        _text("kind"),
        _text("login", nullable=True),
        sa.Column("account_id", BIG),
        _text("service"),
        _text("peer"),
        sa.Column("credential_id", BIG),
        _text("label", nullable=True),
        _text("outcome"),
        _text("detail"),
        _int("count"),
        _text("client"),
        sa.Column("fold", sa.Text, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "audit", ["at"])
    op.create_index(None, "audit", ["login", "at"])
