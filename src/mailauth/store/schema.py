"""The tables, as SQLAlchemy metadata: what the migrations must come to and what the statements are written against.

Rule: imported by `statements`, `compile`, the migrations and tests only; at run time nobody pays for SQLAlchemy.
Times are epoch seconds, booleans are 0 or 1, services are the sum of IMAP 1, POP3 2, SMTP 4, in both databases.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives out ids of its own only in a column typed INTEGER, and AUTOINCREMENT never gives one twice: an id in
# the audit log, in a session or in a proof must not come to mean another row.
BIG = BigInteger().with_variant(Integer(), "sqlite")

# In the order of its bytes, as SQLite compares and as no language of PostgreSQL does: a beginning is then a range.
BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")


def row_id() -> Column[Any]:
    """An id of its own, given out by the database."""
    return Column("id", BIG, Identity(), primary_key=True)


def flag(name: str) -> Column[Any]:
    """0 or 1."""
    return Column(name, Integer, nullable=False)


def moment(name: str, *, nullable: bool = True) -> Column[Any]:
    """Epoch seconds."""
    return Column(name, Double, nullable=nullable)


def _policy() -> list[Column[Any]]:
    """What an administrator decided at one level: interfaces.Demand, and the most app passwords (None: not said)."""
    return [
        Column("policy", Text, nullable=False),
        moment("enforce_from"),
        flag("policy_reached"),
        flag("two_factor"),
        moment("two_factor_from"),
        flag("two_factor_reached"),
        Column("max_app_passwords", Integer),
    ]


def account_id() -> Column[Any]:
    """Whose row it is; it goes with the account."""
    return Column("account_id", BIG, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False)


site = Table(
    "site",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("store_id", Text, nullable=False),  # random; the server keys' check values are made over it
    *_policy(),
    moment("created_at", nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

server_keys = Table(
    "server_keys",
    metadata,
    Column("id", BIG, primary_key=True, autoincrement=False),
    Column("check_value", Text, nullable=False),
)

domains = Table(
    "domains",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    flag("enabled"),
    Column("services", Integer, nullable=False),
    *_policy(),
    moment("created_at", nullable=False),
    sqlite_autoincrement=True,
)

accounts = Table(
    "accounts",
    metadata,
    row_id(),
    Column("domain_id", BIG, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("login", BYTEWISE, nullable=False, unique=True),
    flag("enabled"),
    flag("client_logon"),
    Column("services", Integer, nullable=False),
    flag("mode_on"),
    Column("web_record", Text),
    moment("web_changed_at"),
    *_policy(),
    moment("created_at", nullable=False),
    Column("role", Text, nullable=False, server_default=text("'user'")),
    Column("language", Text),  # of the portal; None: the browser's
    Column("recovery_address", Text),
    Column("ever_had_factor", Integer, nullable=False, server_default=text("0")),
    Index(None, "domain_id", "login"),
    sqlite_autoincrement=True,
)

aliases = Table(
    "aliases",
    metadata,
    Column("address", Text, primary_key=True),
    account_id(),
    moment("created_at", nullable=False),
    Index(None, "account_id"),
)

# So that a source of web passwords does not bring an account back. digest: rows.removed_digest of the login.
removed_logins = Table(
    "removed_logins",
    metadata,
    Column("digest", Text, primary_key=True),
    moment("at", nullable=False),
)

# A deleted app password stays for a while as its own tombstone: revoked_at is set. The record stays too, since the 16
# bits of a selector alone would take one wrong secret in 65,536 for it.
app_passwords = Table(
    "app_passwords",
    metadata,
    row_id(),
    account_id(),
    Column("key_id", BIG, nullable=False),
    Column("selector", Integer, nullable=False),
    Column("record", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("services", Integer, nullable=False),
    Column("networks", Text, nullable=False),  # CIDRs between spaces; "" is anywhere
    moment("expires_at"),
    flag("suspended"),
    moment("created_at", nullable=False),
    Column("created_by", Text, nullable=False),
    moment("last_used_at"),
    Column("last_used_peer", Text),
    Column("last_used_service", Text),
    Column("last_used_client", Text),
    moment("revoked_at"),
    UniqueConstraint("account_id", "key_id", "selector"),
    sqlite_autoincrement=True,
)

# No foreign keys: what happened stays on record when the account is gone.
audit = Table(
    "audit",
    metadata,
    row_id(),
    moment("at", nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("login", Text),
    Column("account_id", BIG),
    Column("service", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("credential_id", BIG),
    Column("label", Text),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("client", Text, nullable=False),
    Column("fold", Text, unique=True),  # names the row that later logins of the same minute are counted in
    Index(None, "at"),
    Index(None, "login", "at"),
    sqlite_autoincrement=True,
)
# What comes behind the @ of a login, in functions that both databases have: what no other character than an @ is taken
# off the end, and the rest is taken away from the beginning. Of a login without one it is all of it.
AUDIT_DOMAIN = "replace(login, rtrim(login, replace(login, '@', '')), '')"
Index("ix_audit_domain_at", text(AUDIT_DOMAIN), audit.c.at)

# --- what every process must hear of ---------------------------------------------------------------------------------

# The number of the newest change. Its one row is locked until commit by whoever takes the next number, so changes are
# seen in the order of their numbers; a sequence would let a reader pass over one that commits late.
change_counter = Table(
    "change_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BIG, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

# account_id and domain_id: whom it touches, both None: the whole site. takes: a JSON object, what it took away, so
# that it can be taken away again from a restored backup; see `changes`.
changes = Table(
    "changes",
    metadata,
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("token", Text, nullable=False, unique=True),  # random: by it, who lost the connection finds out
    moment("at", nullable=False),
    Column("kind", Text, nullable=False),
    Column("account_id", BIG),
    Column("domain_id", BIG),
    Column("takes", Text, nullable=False),
)

# Processes that let clients in. applied: the newest change that this one has acted on.
processes = Table(
    "processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    moment("started_at", nullable=False),
    Column("applied", BIG, nullable=False),
)

# What processes say to a change: the sessions it ended there, or, in JSON, what was asked for.
answers = Table(
    "answers",
    metadata,
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("process_id", Text, primary_key=True),
    Column("ended", Integer, nullable=False),
    Column("report", Text, nullable=False),
)

# --- guesses and what owners should know ------------------------------------------------------------------------------

# What sources, their networks and accounts have spent of what they may guess. Counts only, nothing of a secret.
guesses = Table(
    "guesses",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("spent", Double, nullable=False),
    moment("at", nullable=False),
    Index(None, "at"),
)

# Programs of an account that do not log in as they should: at most 20 rows an account. credential_id: the deleted app
# password that is still tried, else 0. is_web_password: None until somebody has looked.
observations = Table(
    "observations",
    metadata,
    Column("account_id", BIG, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("network", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("client", Text, primary_key=True),
    Column("credential_id", BIG, primary_key=True),
    moment("first_at", nullable=False),
    moment("last_at", nullable=False),
    Column("count", Integer, nullable=False),
    Column("is_web_password", Integer),
)
