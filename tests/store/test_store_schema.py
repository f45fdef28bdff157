"""The tables, the migrations and the written-out statements agree; and nobody pays for SQLAlchemy at run time."""

import subprocess
import sys
import warnings

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, create_engine, pool
from sqlalchemy.sql import visitors

from mailauth.accounts.history import note
from mailauth.store import compile as compilation
from mailauth.store import login_statements
from mailauth.store.schema import metadata
from mailauth.store.upgrade import HEAD, VERSION_TABLE


def test_the_migrations_come_to_the_tables_of_the_schema(database):
    driver = database.store.driver
    engine = create_engine(f"{driver.dialect}://", creator=driver.connect_for_upgrade, poolclass=pool.NullPool)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "include_object": is_of_columns}
        context = MigrationContext.configure(connection, opts=options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*expression-based index")  # SQLite's are not read back
            assert compare_metadata(context, metadata) == []


def test_a_login_that_comes_again_is_compared_by_all_that_a_lookup_reads():
    """But for the hash of another password, which an app password that opens is not judged by."""

    def read(statement):
        parts = [part for column in statement.selected_columns for part in visitors.iterate(column)]
        return {f"{part.table.name}.{part.name}" for part in parts if isinstance(part, Column)}

    looked_up = read(login_statements.LOOKUPS[1])
    assert {"accounts.mode_on", "accounts.domain_id", "site.two_factor", "app_passwords.revoked_at"} <= looked_up
    asked_by = {"accounts.id", "app_passwords.id"}
    others = {"other.account_id", "other.key_id"}  # whether there are any under keys that are not here
    assert looked_up - read(login_statements.AGAIN) == {"accounts.web_record", *asked_by, *others}


def is_of_columns(item, name, kind, reflected, compare_to):
    """Indexes of expressions are written back otherwise than they were made, or, by SQLite, not at all."""
    return name != "ix_audit_domain_at"


def test_the_audit_log_of_a_domain_is_one_range_of_its_index(database):
    for at, login in enumerate(
        ("a@b.test", "(unknown)@b.test", "(unknown)", None, "a.b@c.test", "王@b.test", "x@a.b.test")
    ):
        note(database.store, "x", actor="test", login=login, account_id=1, now=float(at))
    wanted = {"domain": "b.test", "since": 0.0, "at": 1e9, "row_id": 0, "page": 10}
    store = database.store
    with store.reading() as tx:
        rows = tx.rows(store.sql.AUDIT_BACKWARDS["domain"], **wanted)
        assert [row["login"] for row in rows] == ["王@b.test", "(unknown)@b.test", "a@b.test"]
        if database.url.startswith("sqlite"):
            plan = tx.rows(f"EXPLAIN QUERY PLAN {store.sql.AUDIT_BACKWARDS['domain']}", **wanted)
            assert [row["detail"] for row in plan] == [
                "SEARCH audit USING INDEX ix_audit_domain_at (<expr>=? AND at>? AND at<?)"
            ]
        else:
            ((index,),) = database.run("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_audit_domain_at'")
            assert "replace(login, rtrim(login, replace(login, '@'::text, ''::text)), ''::text), at" in index


def test_from_where_an_app_password_was_let_in_is_looked_for_by_indexes(sqlite_database):
    store = sqlite_database.store
    with store.reading() as tx:
        wanted = {"login": "a@b.test", "credential_id": 1, "most": 17, "slack_s": 0.0}
        plan = [row["detail"] for row in tx.rows(f"EXPLAIN QUERY PLAN {store.sql.LET_IN_FROM}", **wanted)]
    assert not [step for step in plan if step.startswith("SCAN")]
    assert any(step.startswith("SEARCH audit USING INDEX ix_audit_login_at (login=? AND at>?)") for step in plan)


WITH_IDS = {"domains", "accounts", "app_passwords", "audit", "notices", "api_tokens"}


def test_ids_are_never_given_twice(database):
    if database.url.startswith("sqlite"):
        tables = dict(database.run("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        assert all("AUTOINCREMENT" in tables[name] for name in WITH_IDS)
    else:
        rows = database.run("SELECT table_name FROM information_schema.columns WHERE is_identity = 'YES'")
        assert {name for (name,) in rows} == WITH_IDS


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", "mailauth.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


@pytest.mark.parametrize("name", compilation.DIALECTS)
def test_the_written_out_statements_are_current(name):
    written = compilation.PLACE.joinpath(f"sql_{name}.py").read_text(encoding="utf-8")
    assert written == compilation.module_text(compilation.DIALECTS[name]), "run python -m mailauth.store.compile"


@pytest.mark.parametrize("name", compilation.DIALECTS)
def test_no_statement_has_a_nameless_parameter(name):
    lines = compilation.module_text(compilation.DIALECTS[name]).splitlines()
    by_place = [line for line in lines if line.split(" = ")[0] in compilation.AT_ONCE]
    text = "\n".join(line for line in lines if line not in by_place)
    assert "param_1" not in text
    assert "POSTCOMPILE" not in text
    assert "?" not in text
    assert [line.count("?") for line in by_place] == ([3] if name == "sqlite" else [])


def test_running_imports_neither_sqlalchemy_nor_alembic_nor_a_driver_that_is_not_used():
    program = """
import sys
import mailauth.store.passdb, mailauth.store.upgrade, mailauth.store.keycheck, mailauth.store.writebehind
import mailauth.accounts.aliases, mailauth.accounts.apppasswords, mailauth.accounts.domains
import mailauth.accounts.history, mailauth.accounts.mailboxes, mailauth.accounts.site
from mailauth.store.engine import open_store
open_store("sqlite:///x.db")
print([name for name in ("sqlalchemy", "alembic", "psycopg") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_writing_the_statements_out_gives_what_is_there(tmp_path, monkeypatch):
    written = {name: compilation.PLACE.joinpath(f"sql_{name}.py").read_text() for name in compilation.DIALECTS}
    monkeypatch.setattr(compilation, "PLACE", tmp_path)
    compilation.main()
    assert {name: tmp_path.joinpath(f"sql_{name}.py").read_text() for name in compilation.DIALECTS} == written


# Nothing that a fast function derives from a secret is stored, but for app passwords, which are random and long: a
# stolen store must not let anybody try passwords faster than a slow hash does. So each column is on one of two lists.
# Here are those that hold something which could be taken for made from a secret, and what it is.
ARGUED = {
    "site.store_id": "random",
    "server_keys.check_value": "a MAC under the server key, of the store's id and nothing else",
    "accounts.web_record": "the slow hash of the web password",
    "app_passwords.record": "the slow hash of an app password",
    "app_passwords.selector": "16 bits of a MAC of an app password, under a key that is not in the store",
    "changes.token": "random",
    "processes.id": "random",
    "answers.process_id": "that id",
    "audit.fold": "a random id of the process, and a number that counts its rows",
    "factors.state": "what is sealed under a server key; slow hashes of recovery codes, and 16 bits of a MAC of each",
    "factor_claims.claim": "a MAC under the server key, of an identity that is no secret",
    "factor_claims.sealed": "that identity, sealed under a server key",
    "tallies.subject": "an account, an address, or a MAC under the server key of a telephone number",
    "portal_sessions.id": "SHA-256 of 256 random bits, which nobody tries",
    "portal_sessions.csrf": "random, and of no use without the session",
    "questions.id": "random, and of no use without the session",
    "questions.pending": "that id, and what is sealed under a server key",
    "portal_actions.id": "SHA-256 of 256 random bits",
    "devices.id": "SHA-256 of 256 random bits",
    "vouchers.id": "SHA-256 of 118 random bits",
    "api_tokens.digest": "SHA-256 of 256 random bits",
}
# And here are those that hold what they are called, in clear.
_POLICY = "policy enforce_from policy_reached two_factor two_factor_from two_factor_reached max_app_passwords"
CLEAR = {
    "site": f"id created_at {_POLICY}",
    "server_keys": "id",
    "domains": f"id name enabled services created_at {_POLICY}",
    "accounts": f"id domain_id login enabled client_logon services mode_on web_changed_at created_at {_POLICY} "
    "role language recovery_address ever_had_factor",
    "aliases": "address account_id created_at",
    "removed_logins": "digest at",  # of a login, which is no secret
    "app_passwords": "id account_id key_id label services networks expires_at suspended created_at created_by "
    "last_used_at last_used_peer last_used_service last_used_client revoked_at",
    "audit": "id at actor kind login account_id service peer credential_id label outcome detail count client",
    "change_counter": "id number",
    "changes": "number at kind account_id domain_id takes",
    "processes": "host pid started_at applied",
    "answers": "number ended report",
    "guesses": "kind subject spent at",
    "observations": "account_id kind network service client credential_id first_at last_at count is_web_password",
    "domain_admins": "account_id domain_id",
    "factors": "account_id kind parts key_ids is_alone confirmed_at last_used_at last_used_peer",
    "factor_claims": "account_id kind key_ids",
    "tallies": "since count ends_at",
    "portal_sessions": "account_id stage factor created_at seen_at ends_at peer agent language",
    "questions": "session_id kind purpose key_ids expires_at",
    "portal_actions": "session_id account_id kind params expires_at password_at proved_at proved_by done_at",
    "devices": "account_id created_at seen_at",
    "vouchers": "account_id kind created_at created_by expires_at used_at",
    "api_tokens": "id account_id label scopes created_at created_by expires_at last_used_at last_used_peer revoked_at",
    "notices": "id account_id at kind actor peer agent label detail mail_to mail_after mailed_at seen_at",
}


def test_a_column_that_holds_something_made_from_a_secret_must_be_argued_for():
    clear = [f"{table}.{column}" for table, columns in CLEAR.items() for column in columns.split()]
    stored = {f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.c}
    assert stored == {*ARGUED, *clear}, "say on which of the two lists a new column belongs, and why"
    assert len(stored) == len(ARGUED) + len(clear), "no column is on both"
