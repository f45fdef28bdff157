"""The tables, the migrations and the written-out statements agree; and nobody pays for SQLAlchemy at run time."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, pool

from mailauth.store import compile as compilation
from mailauth.store.schema import metadata
from mailauth.store.upgrade import HEAD, VERSION_TABLE


def test_the_migrations_come_to_the_tables_of_the_schema(database):
    driver = database.store.driver
    engine = create_engine(f"{driver.dialect}://", creator=driver.connect_for_upgrade, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_ids_are_never_given_twice(database):
    if database.url.startswith("sqlite"):
        tables = dict(database.run("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        assert all("AUTOINCREMENT" in tables[name] for name in ("domains", "accounts", "app_passwords", "audit"))
    else:
        rows = database.run("SELECT table_name FROM information_schema.columns WHERE is_identity = 'YES'")
        assert {name for (name,) in rows} == {"domains", "accounts", "app_passwords", "audit"}


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
    text = compilation.module_text(compilation.DIALECTS[name])
    assert "param_1" not in text
    assert "POSTCOMPILE" not in text
    assert "?" not in text


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
