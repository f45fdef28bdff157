"""The tables of the web portal, beside those of `schema`, whose rule holds here too.

Rule: what opens anything stands here as a digest of 256 random bits, or sealed under a server key.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, Table, Text

from mailauth.store.schema import BIG, account_id, flag, metadata, moment, row_id

# Which domains a domain administrator has.
domain_admins = Table(
    "domain_admins",
    metadata,
    account_id(),
    Column("domain_id", BIG, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("account_id", "domain_id"),
    Index(None, "domain_id"),
)

# --- second factors --------------------------------------------------------------------------------------------------

# One row for each kind that an account has. state: what the factor itself reads and writes (JSON). parts: what may be
# shown of it (JSON), so that a list needs neither keys nor the factor. key_ids: the server keys that state is under,
# each between spaces. is_alone: with it the account has a second factor; without, it only helps out.
factors = Table(
    "factors",
    metadata,
    account_id(),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("parts", Text, nullable=False),
    Column("key_ids", Text, nullable=False),
    flag("is_alone"),
    moment("confirmed_at", nullable=False),
    moment("last_used_at"),
    Column("last_used_peer", Text),
    PrimaryKeyConstraint("account_id", "kind"),
    Index(None, "last_used_at"),
    Index(None, "key_ids"),
)

# What serves one account only: keyed digests of identities at providers and of security keys, under each key that was
# there. sealed: what it is a digest of, so that it can be made under another key. key_ids: of both, as in factors.
factor_claims = Table(
    "factor_claims",
    metadata,
    Column("claim", Text, primary_key=True),
    account_id(),
    Column("kind", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("key_ids", Text, nullable=False),
    Index(None, "account_id"),
    Index(None, "key_ids"),
)

# How much that costs somebody was had lately: text messages, of a number, an account, an address, and in all.
tallies = Table(
    "tallies",
    metadata,
    Column("subject", Text, primary_key=True),
    moment("since", nullable=False),
    Column("count", Integer, nullable=False),
    moment("ends_at", nullable=False),
    Index(None, "ends_at"),
)

# --- who is signed in ------------------------------------------------------------------------------------------------

# factor: the kind that was shown at the sign-in.
portal_sessions = Table(
    "portal_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    account_id(),
    Column("stage", Text, nullable=False),
    Column("factor", Text),
    moment("created_at", nullable=False),
    moment("seen_at", nullable=False),
    moment("ends_at", nullable=False),
    Column("peer", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("csrf", Text, nullable=False),
    Column("language", Text),
    Index(None, "account_id"),
    Index(None, "ends_at"),
)

# A question that a factor has put and that is not answered yet. key_ids: as in factors.
questions = Table(
    "questions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("session_id", Text, ForeignKey("portal_sessions.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("pending", Text, nullable=False),
    Column("key_ids", Text, nullable=False),
    moment("expires_at", nullable=False),
    Index(None, "session_id"),
    Index(None, "expires_at"),
)

# One act that takes proof of who one is, given for it alone. session_id: None until its owner's browser has come for
# it, when a program has asked. params: what exactly is to be done (JSON).
portal_actions = Table(
    "portal_actions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("session_id", Text, ForeignKey("portal_sessions.id", ondelete="CASCADE")),
    account_id(),
    Column("kind", Text, nullable=False),
    Column("params", Text, nullable=False),
    moment("expires_at", nullable=False),
    moment("password_at"),
    moment("proved_at"),
    Column("proved_by", Text),
    moment("done_at"),
    Index(None, "session_id"),
    Index(None, "account_id"),
    Index(None, "expires_at"),
)

# Browsers that somebody has signed in from. One may know several accounts.
devices = Table(
    "devices",
    metadata,
    Column("id", Text, nullable=False),
    account_id(),
    moment("created_at", nullable=False),
    moment("seen_at", nullable=False),
    PrimaryKeyConstraint("id", "account_id"),
    Index(None, "account_id"),
    Index(None, "seen_at"),
)

# Codes and links that an administrator hands out, each good once.
vouchers = Table(
    "vouchers",
    metadata,
    Column("id", Text, primary_key=True),
    account_id(),
    Column("kind", Text, nullable=False),
    moment("created_at", nullable=False),
    Column("created_by", Text, nullable=False),
    moment("expires_at", nullable=False),
    moment("used_at"),
    Index(None, "account_id"),
    Index(None, "expires_at"),
)

# account_id None: of a program that serves many accounts, such as a webmail.
api_tokens = Table(
    "api_tokens",
    metadata,
    row_id(),
    Column("digest", Text, nullable=False, unique=True),
    Column("account_id", BIG, ForeignKey("accounts.id", ondelete="CASCADE")),
    Column("label", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    moment("created_at", nullable=False),
    Column("created_by", Text, nullable=False),
    moment("expires_at"),
    moment("last_used_at"),
    Column("last_used_peer", Text),
    moment("revoked_at"),
    Index(None, "account_id"),
    sqlite_autoincrement=True,
)

# --- what owners are told --------------------------------------------------------------------------------------------

# agent: what the browser called itself, "" for none. mail_to: where it is still to be mailed to, with spaces between;
# None: to the account, and its recovery address. mail_after: not mailed before then; None: no more. seen_at: when the
# owner said that he has read it.
notices = Table(
    "notices",
    metadata,
    row_id(),
    account_id(),
    moment("at", nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("label", Text),
    Column("detail", Text, nullable=False),
    Column("mail_to", Text),
    moment("mail_after"),
    moment("mailed_at"),
    moment("seen_at"),
    Index(None, "account_id", "seen_at"),
    Index(None, "mail_after"),
    Index(None, "at"),
    sqlite_autoincrement=True,
)
