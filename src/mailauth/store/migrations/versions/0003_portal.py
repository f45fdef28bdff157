"""The web portal: roles, second factors, sessions, proofs, notices and API tokens."""

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add four columns to accounts, and eleven tables."""
    _accounts()
    _demands()
    _factors()
    _sessions()
    _questions_and_actions()
    _devices_and_vouchers()
    _api_tokens()
    _notices()


def _int(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=True)


def _account_id(*, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column("account_id", BIG, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=nullable)


def _session_id(*, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column("session_id", sa.Text, sa.ForeignKey("portal_sessions.id", ondelete="CASCADE"), nullable=nullable)


def _accounts() -> None:
    op.add_column("accounts", sa.Column("role", sa.Text, nullable=False, server_default=sa.text("'user'")))
    op.add_column("accounts", _text("language", nullable=True))
    op.add_column("accounts", _text("recovery_address", nullable=True))
    op.add_column("accounts", sa.Column("ever_had_factor", sa.Integer, nullable=False, server_default=sa.text("0")))
    if op.get_bind().dialect.name == "postgresql":  # SQLite compares bytes in any case
        op.alter_column("accounts", "login", type_=sa.Text(collation="C"), existing_nullable=False)
    op.create_table(
        "domain_admins",
        _account_id(),
        sa.Column("domain_id", BIG, sa.ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "domain_id"),
    )
    op.create_index(None, "domain_admins", ["domain_id"])


def _demands() -> None:
    """How long somebody may still enrol depends on when a second factor was demanded: from now on that is known."""
    for name in ("site", "domains", "accounts"):
        level = sa.table(name, sa.column("two_factor"), sa.column("two_factor_from"))
        unknown = (level.c.two_factor == 1, level.c.two_factor_from.is_(None))
        op.execute(sa.update(level).where(*unknown).values(two_factor_from=time.time()))


def _factors() -> None:
    op.create_table(
        "factors",
        _account_id(),
        *[_text(name) for name in ("kind", "state", "parts", "key_ids")],
        _int("is_alone"),
        _time("confirmed_at", nullable=False),
        _time("last_used_at"),
        _text("last_used_peer", nullable=True),
        sa.PrimaryKeyConstraint("account_id", "kind"),
    )
    op.create_index(None, "factors", ["last_used_at"])
    op.create_index(None, "factors", ["key_ids"])
    op.create_table(
        "factor_claims", _key("claim"), _account_id(), *[_text(name) for name in ("kind", "sealed", "key_ids")]
    )
    op.create_index(None, "factor_claims", ["account_id"])
    op.create_index(None, "factor_claims", ["key_ids"])
    op.create_table(
        "tallies", _key("subject"), _time("since", nullable=False), _int("count"), _time("ends_at", nullable=False)
    )
    op.create_index(None, "tallies", ["ends_at"])


def _sessions() -> None:
    op.create_table(
        "portal_sessions",
        _key("id"),
        _account_id(),
        _text("stage"),
        _text("factor", nullable=True),
        *[_time(name, nullable=False) for name in ("created_at", "seen_at", "ends_at")],
        *[_text(name) for name in ("peer", "agent", "csrf")],
        _text("language", nullable=True),
    )
    op.create_index(None, "portal_sessions", ["account_id"])
    op.create_index(None, "portal_sessions", ["ends_at"])


def _questions_and_actions() -> None:
    op.create_table(
        "questions",
        _key("id"),
        _session_id(),
        *[_text(name) for name in ("kind", "purpose", "pending", "key_ids")],
        _time("expires_at", nullable=False),
    )
    op.create_index(None, "questions", ["session_id"])
    op.create_index(None, "questions", ["expires_at"])
    op.create_table(
        "portal_actions",
        _key("id"),
        _session_id(nullable=True),
        _account_id(),
        *[_text(name) for name in ("kind", "params")],
        _time("expires_at", nullable=False),
        *[_time(name) for name in ("password_at", "proved_at")],
        _text("proved_by", nullable=True),
        _time("done_at"),
    )
    for column in ("session_id", "account_id", "expires_at"):
        op.create_index(None, "portal_actions", [column])


def _devices_and_vouchers() -> None:
    op.create_table(
        "devices",
        _text("id"),
        _account_id(),
        _time("created_at", nullable=False),
        _time("seen_at", nullable=False),
        sa.PrimaryKeyConstraint("id", "account_id"),
    )
    op.create_index(None, "devices", ["account_id"])
    op.create_index(None, "devices", ["seen_at"])
    op.create_table(
        "vouchers",
        _key("id"),
        _account_id(),
        _text("kind"),
        _time("created_at", nullable=False),
        _text("created_by"),
        _time("expires_at", nullable=False),
        _time("used_at"),
    )
    op.create_index(None, "vouchers", ["account_id"])
    op.create_index(None, "vouchers", ["expires_at"])


def _api_tokens() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", BIG, sa.Identity(), primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        _account_id(nullable=True),
        _text("label"),
        _text("scopes"),
        _time("created_at", nullable=False),
        _text("created_by"),
        _time("expires_at"),
        _time("last_used_at"),
        _text("last_used_peer", nullable=True),
        _time("revoked_at"),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "api_tokens", ["account_id"])


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", BIG, sa.Identity(), primary_key=True),
        _account_id(),
        _time("at", nullable=False),
        *[_text(name) for name in ("kind", "actor", "peer", "agent")],
        _text("label", nullable=True),
        _text("detail"),
        _text("mail_to", nullable=True),
        *[_time(name) for name in ("mail_after", "mailed_at", "seen_at")],
        sqlite_autoincrement=True,
    )
    op.create_index(None, "notices", ["account_id", "seen_at"])
    op.create_index(None, "notices", ["mail_after"])
    op.create_index(None, "notices", ["at"])
