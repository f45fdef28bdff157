"""A hundred thousand accounts: a login looks at no more rows than among a hundred, whatever it asks for."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import psycopg
import pytest

from mailauth.attempt import Service
from mailauth.keys import KeyRing
from mailauth.store.passdb import open_passdb

FEW, MANY = 100, 100_000
APP_PASSWORDS_EACH = 3
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})",
    "postgresql": "WITH numbers AS (SELECT generate_series(1, {count}) AS n)",
}
FILL = """
INSERT INTO domains (id, name, enabled, services, policy, policy_reached, two_factor, two_factor_reached, created_at)
    {numbers} SELECT n, 'd' || n || '.test', 1, 7, 'optional', 0, 0, 0, 1 FROM numbers WHERE n <= {count} / 50;
INSERT INTO accounts (id, domain_id, login, enabled, client_logon, services, mode_on, web_record, policy,
    policy_reached, two_factor, two_factor_reached, created_at)
    {numbers} SELECT n, 1 + n % ({count} / 50), 'user' || n || '@d' || (1 + n % ({count} / 50)) || '.test', 1, 1, 7, 0,
    'record', 'optional', 0, 0, 0, 1 FROM numbers;
INSERT INTO aliases (address, account_id, created_at)
    {numbers} SELECT 'alias' || n || '@d1.test', n, 1 FROM numbers;
INSERT INTO app_passwords (account_id, key_id, selector, record, label, services, networks, suspended, created_at,
    created_by)
    {numbers} SELECT n, 1, 7 * n % 65000 + place, 'record', 'label', 7, '', 0, 1, 'test' FROM numbers,
    (SELECT 0 AS place UNION SELECT 1 UNION SELECT 2) AS places
"""
LOGIN, ALIAS = "user50@d{domain}.test", "alias50@d1.test"


def fill(database, count):
    """Accounts, with aliases and app passwords, written behind the store's back."""
    kind = "postgresql" if database.url.startswith("postgresql") else "sqlite"
    numbers = NUMBERS[kind].format(count=count)
    for statement in FILL.split(";"):
        database.run(statement.format(numbers=numbers, count=count))


class Noting:
    """A Reader that finds nothing, and knows what it was asked."""

    async def rows(self, statement, values):
        self.asked = statement, dict(values)
        return []


def questions(store, ring, count):
    """What a login and a submission ask, as they ask it: statement and values, by name."""
    passdb = open_passdb(store, ring.ids)
    passdb._reader = noting = Noting()
    asked = {}
    login = LOGIN.format(domain=1 + 50 % (count // 50))
    for name, question in {
        "lookup": passdb.lookup(login, [(1, 350)]),
        "lookup of an unknown login": passdb.lookup("nobody@d1.test", [(1, 350)]),
        "lookup without a selector": passdb.lookup(login, ()),
        "session": passdb.session(50, 150),
        "canonical": passdb.canonical(ALIAS),
        "recipient": passdb.recipient(ALIAS),
        "may send as": passdb.may_send_as(50, ALIAS),
        "local domain": passdb.is_local_domain("d1.test"),
    }.items():
        with pytest.raises(StopIteration):  # it did not have to wait
            question.send(None)
        asked[name] = noting.asked
    asked["poll"] = store.sql.POLL, {"process_id": "x"}
    return asked


def sqlite_effort(database, asked):
    """Instructions of SQLite's machine: each row that is looked at costs some."""
    effort = {}
    with closing(sqlite3.connect(database.path)) as connection:
        for name, (statement, values) in asked.items():
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = [step for step in plan if re.match(r"SCAN (accounts|aliases|app_passwords|domains|other)", step)]
            assert not scans, (name, plan)
            steps = []
            connection.set_progress_handler(lambda steps=steps: steps.append(1), 1)
            connection.execute(statement, values).fetchall()
            connection.set_progress_handler(None, 0)
            effort[name] = len(steps)
    return effort


def postgresql_effort(database, asked, plan_cache_mode):
    """Rows that were looked at: those of every step of the plan, and those that a filter threw away."""
    effort = {}
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"SET plan_cache_mode = {plan_cache_mode}")
        for number, (name, (statement, values)) in enumerate(asked.items()):
            names = sorted(set(re.findall(r"%\((\w+)\)s", statement)))
            places = {name: f"${place}" for place, name in enumerate(names, 1)}
            numbered = re.sub(r"%\((\w+)\)s", lambda found, places=places: places[found[1]], statement)
            shown = ", ".join(psycopg.sql.Literal(values[name]).as_string(connection) for name in names)
            connection.execute(f"PREPARE asked_{number} AS {numbered.replace('%%', '%')}")
            execute = f"EXECUTE asked_{number}" + (f" ({shown})" if names else "")
            ((plan,),) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}")
            effort[name] = rows_looked_at((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
    return effort


def rows_looked_at(step):
    removed = sum(value for key, value in step.items() if key.startswith("Rows Removed"))
    here = (step["Actual Rows"] + removed) * step["Actual Loops"]
    return here + sum(rows_looked_at(child) for child in step.get("Plans", ()))


def test_a_login_on_sqlite_takes_no_more_steps_among_many_than_among_few(sqlite_database, ring: KeyRing):
    fill(sqlite_database, FEW)
    few = sqlite_effort(sqlite_database, questions(sqlite_database.store, ring, FEW))
    for table in ("app_passwords", "aliases", "accounts", "domains"):
        sqlite_database.run(f"DELETE FROM {table}")
    fill(sqlite_database, MANY)
    many = sqlite_effort(sqlite_database, questions(sqlite_database.store, ring, MANY))
    assert many.keys() == few.keys()
    for name, steps in many.items():
        assert steps <= few[name] + 10, (name, few[name], steps)


@pytest.mark.parametrize("analyzed", [False, True], ids=["not yet analyzed", "analyzed"])
def test_a_login_on_postgresql_looks_at_no_more_rows_among_many_than_among_few(postgres_database, ring, analyzed):
    fill(postgres_database, MANY)
    if analyzed:
        postgres_database.run("ANALYZE")
    asked = questions(postgres_database.store, ring, MANY)
    for mode in ("force_custom_plan", "force_generic_plan"):
        for name, rows in postgresql_effort(postgres_database, asked, mode).items():
            assert rows <= 4 * APP_PASSWORDS_EACH, (mode, name, rows)


async def test_the_account_in_the_middle_is_found(database, ring):
    fill(database, FEW)
    passdb = open_passdb(database.store, ring.ids)
    account = await passdb.lookup(LOGIN.format(domain=1), [(1, 350)])
    assert account is not None
    assert (account.id, len(account.hits), account.services) == (50, 1, frozenset(Service))
    await passdb.close()
