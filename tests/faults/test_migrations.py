"""An upgrade of a store of the first release: nothing is lost, whatever happens to it on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from mailauth.accounts import apppasswords
from mailauth.store import upgrade as upgrading
from mailauth.store.upgrade import HEAD, SchemaMismatch, current, require_current, upgrade
from mailauth.store.writebehind import WriteBehind
from site_of_tests import Site

FIRST = "0001"
# As the first release wrote them: policies, empty values, a tombstone, text that is not ASCII.
ROWS = """
INSERT INTO site VALUES (1, '00112233445566778899aabbccddeeff', 'observe', 1.8e9, 1, 0, NULL, 0, 7, 1.7e9);
INSERT INTO server_keys VALUES (1, 'check');
INSERT INTO domains VALUES (1, 'example.test', 1, 7, 'optional', NULL, 0, 0, NULL, 0, NULL, 1.7e9);
INSERT INTO domains VALUES (5, '例え.test', 0, 3, 'enforced', 1.75e9, 1, 1, 1.76e9, 0, 3, 1.7e9);
INSERT INTO accounts VALUES (1, 1, 'alice@example.test', 1, 1, 7, 1, '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA',
    1.71e9, 'optional', NULL, 0, 0, NULL, 0, NULL, 1.7e9);
INSERT INTO accounts VALUES (9, 5, '用户@例え.test', 0, 0, 1, 0, NULL, NULL, 'observe', 1.9e9, 0, 1, NULL, 1, 0, 1.7e9);
INSERT INTO aliases VALUES ('ali@example.test', 1, 1.7e9);
INSERT INTO app_passwords VALUES (3, 1, 1, 4711, 'record', 'Phone of Ålice', 7, '', NULL, 0, 1.7e9, 'cli:root',
    1.72e9, '192.0.2.1', 'imap', 'Mail', NULL);
INSERT INTO app_passwords VALUES (4, 1, 1, 65535, 'record', 'old', 1, '192.0.2.0/24 2001:db8::/32', 1.9e9, 1, 1.7e9,
    'cli:root', NULL, NULL, NULL, NULL, 1.73e9);
INSERT INTO audit VALUES (1, 1.72e9, 'client', 'login', 'alice@example.test', 1, 'imap', '192.0.2.1', 3, 'Phone',
    'accept', 'app-password', 5, 'Mail', 'p:1');
INSERT INTO audit VALUES (2, 1.72e9, 'cli:root', 'account-added', NULL, NULL, '', '', NULL, NULL, 'done', '', 1, '',
    NULL);
"""
TABLES = ("site", "server_keys", "domains", "accounts", "aliases", "app_passwords", "audit")
CHILD = """
import os, signal, sys
from alembic import command
from alembic.operations import Operations
from mailauth.store.engine import open_store
from mailauth.store.upgrade import upgrade

left = int(sys.argv[2])  # tables that are still made; -1: it is not killed

def before(real):
    def step(*args, **kw):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*args, **kw)
    return step

def behind(real):
    def step(*args, **kw):
        real(*args, **kw)
        if left >= 0:
            os.kill(os.getpid(), signal.SIGKILL)  # all is done but the COMMIT
    return step

Operations.create_table = before(Operations.create_table)
command.upgrade = behind(command.upgrade)
print(upgrade(open_store(sys.argv[1])))
"""
TO_THE_END = -1
LONG_AGO = 1.78e9  # after whatever the rows above have


# A demand of unknown age is held to have been made when the store was upgraded: whoever has to enrol has his days.
AGED = '"two_factor_from"', f"CASE WHEN two_factor_from > {LONG_AGO} THEN NULL ELSE two_factor_from END"


def dump(database, columns):
    """Every row of the first release's tables, by the first release's columns."""
    return {
        table: sorted(database.run(f"SELECT {columns[table].replace(*AGED)} FROM {table}"), key=repr)
        for table in TABLES
    }


@pytest.fixture
def first_release(empty_database, monkeypatch):
    """A store as the first release left it, with something of everything in it."""
    empty_database.store.driver.create()
    monkeypatch.setattr(upgrading, "HEAD", FIRST)
    upgrade(empty_database.store)
    monkeypatch.undo()
    for statement in filter(str.strip, ROWS.split(";\n")):
        empty_database.run(statement)
    columns = {table: ", ".join(sorted(columns_of(empty_database, table))) for table in TABLES}
    empty_database.store.close()
    return empty_database, columns


def columns_of(database, table):
    names = f"SELECT name FROM pragma_table_info('{table}')"
    if database.url.startswith("postgresql"):
        where = f"table_schema = current_schema() AND table_name = '{table}'"
        names = f"SELECT column_name FROM information_schema.columns WHERE {where}"
    return [f'"{name}"' for (name,) in database.run(names)]


def child(database, left):
    command = [sys.executable, "-c", CHILD, database.url, str(left)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_data_of_the_first_release_is_what_it_was(first_release):
    old, columns = first_release
    before = dump(old, columns)
    with pytest.raises(SchemaMismatch, match="mailauth db upgrade"):
        require_current(old.store)
    assert upgrade(old.store) == (FIRST, HEAD)
    require_current(old.store)
    assert dump(old, columns) == before
    ((since,),) = old.run("SELECT two_factor_from FROM accounts WHERE id = 9")
    assert abs(since - time.time()) < 600
    assert [view.label for view in apppasswords.listed(old.store, "alice@example.test")] == ["Phone of Ålice"]
    assert upgrade(old.store) == (HEAD, HEAD)


@pytest.mark.parametrize("left", [0, 2, 5, 1000], ids=["at once", "in the middle", "at the last", "before the COMMIT"])
def test_an_upgrade_that_is_killed_has_changed_nothing_and_is_run_again(first_release, left):
    old, columns = first_release
    before = dump(old, columns)
    upgrading = child(old, left)
    _, said = upgrading.communicate(timeout=120)
    assert upgrading.returncode == -signal.SIGKILL, said
    assert current(old.store) == FIRST
    assert dump(old, columns) == before
    old.store.close()
    upgrading = child(old, TO_THE_END)
    out, said = upgrading.communicate(timeout=120)
    assert (upgrading.returncode, out) == (0, f"('{FIRST}', '{HEAD}')\n"), said
    assert dump(old, columns) == before
    require_current(old.store)


def test_two_upgrades_at_once_are_one(first_release):
    old, columns = first_release
    before = dump(old, columns)
    both = [child(old, TO_THE_END) for _ in range(2)]
    said = [upgrading.communicate(timeout=120) for upgrading in both]
    assert [upgrading.returncode for upgrading in both] == [0, 0], said
    assert dump(old, columns) == before
    require_current(old.store)


def test_a_server_that_is_older_than_the_store_does_not_start(tmp_path):
    site = Site(tmp_path)
    with site.store.transaction() as tx:
        tx.write("UPDATE mailauth_version SET version_num = '9999'")
    for command in (("serve",), ("account", "list"), ("db", "upgrade")):
        said = site.run(*command)
        assert said.returncode == 78, said
        assert "has the tables of a newer mailauth (9999; " in said.stderr
        assert "install that mailauth, or restore a backup made before its upgrade" in said.stderr


def test_a_running_server_is_told_that_the_store_has_become_newer(database, caplog, monkeypatch):
    """It goes on: what it reads and writes may well be there still, as in an upgrade of one process after the other."""
    monkeypatch.setattr("mailauth.store.writebehind.MINUTE_S", 0.01)
    monkeypatch.setattr("mailauth.store.writebehind.INTERVAL_S", 0.01)
    behind = WriteBehind(database.store)

    def heard(text, *, count=1):
        for _ in range(3000):
            if [text in line for line in caplog.messages].count(True) >= count:
                return True
            behind._stopping.wait(0.01)
        return False

    database.run("UPDATE mailauth_version SET version_num = '9999'")
    assert heard("this process does not fit the store any more: ")
    assert heard("has the tables of a newer mailauth (9999; this one knows ")
    database.run(f"UPDATE mailauth_version SET version_num = '{HEAD}'")
    assert heard("this process fits the store again")
    assert behind.close()
    assert [("does not fit" in line) for line in caplog.messages].count(True) == 1  # said once
