"""What PostgreSQL, libpq and psycopg say of a fault reaches the operator as a sentence: no class names, no data."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

import postgres
from mailauth.interfaces import StoreUnavailable
from mailauth.store import postgresql_words as words
from mailauth.store.engine import open_store
from mailauth.store.faults import Clash, CommitUnknown

AT = 'connection failed: connection to server at "192.0.2.1", port 5432 failed: '
SOCKET = 'connection is bad: connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: '
TEXTS = {
    AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?": (
        "connection refused; is the server running, and does [store] url name it?"
    ),
    SOCKET + "No such file or directory\n\tIs the server running locally?": (
        "no such file or directory; is the server running, and does [store] url name it?"
    ),
    AT + 'FATAL:  database "mail" does not exist': (
        'database "mail" does not exist; make the database, or correct [store] url'
    ),
    AT + 'FATAL:  role "mail" does not exist': 'role "mail" does not exist; make the user, or correct [store] url',
    AT + 'FATAL:  password authentication failed for user "mail"': (
        'password authentication failed for user "mail"; check the user of [store] url and its password'
    ),
    AT + "fe_sendauth: no password supplied": (
        "fe_sendauth: no password supplied; [store] password_file must name its password"
    ),
    AT + 'FATAL:  no pg_hba.conf entry for host "192.0.2.7", user "mail", database "mail", no encryption': (
        'no pg_hba.conf entry for host "192.0.2.7", user "mail", database "mail", no encryption; '
        "the server's pg_hba.conf must let this user in from here"
    ),
    AT + "FATAL:  the database system is starting up": "the database system is starting up",
    AT + "FATAL:  the database system is shutting down": "the database system is shutting down",
    AT + "FATAL:  sorry, too many clients already": "sorry, too many clients already",
    AT + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute": (
        "remaining connection slots are reserved for roles with the SUPERUSER attribute"
    ),
    AT + "server is in hot standby mode": "server is in hot standby mode; [store] url must name the primary",
    AT + "SSL error: certificate verify failed": "SSL error: certificate verify failed",
    "connection timeout expired": "connection timeout expired; is the server running, and does [store] url name it?",
    "failed to resolve host 'db.example': [Errno -2] Name or service not known": (
        "failed to resolve host 'db.example': [Errno -2] Name or service not known; is the host of [store] url right?"
    ),
    "Multiple connection attempts failed. All failures were:\n"
    f"- host: 'localhost', port: None, hostaddr: '::1': {AT}Connection refused\n\tIs the server running?\n"
    f"- host: 'localhost', port: None, hostaddr: '127.0.0.1': {AT}No route to host": (
        "connection refused; is the server running, and does [store] url name it?"
    ),
    "": "no reason given",
}


@pytest.mark.parametrize("text", TEXTS)
def test_no_connection_is_said_in_one_sentence(text):
    assert words.no_connection(psycopg.OperationalError(text)) == f"cannot connect: {TEXTS[text]}"


class Locked(errors.LockNotAvailable):
    """As psycopg makes one: it has a message of its own. (The real `diag` comes from the wire.)"""

    diag = type("Diagnostic", (), {"message_primary": "canceling statement due to lock timeout"})()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (psycopg.OperationalError("the connection is closed"), "the connection was lost: the connection is closed"),
        (
            psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly\n\tThis may"),
            "the connection was lost: server closed the connection unexpectedly",
        ),
        (Locked("whatever"), "canceling statement due to lock timeout"),
        (
            errors.NumericValueOutOfRange('value "hunter2" is too long'),
            "it does not take such a value (SQLSTATE 22003)",
        ),
        (errors.NotNullViolation('row contains "hunter2"'), "it does not take such a value (SQLSTATE 23502)"),
        (psycopg.DataError("NUL"), "it does not take such a value"),
        (UnicodeEncodeError("utf-8", "hunter2\ud800", 7, 8, "surrogates"), "it does not take such a value"),
        (errors.InsufficientPrivilege("no diagnostics"), "it refuses this (SQLSTATE 42501)"),
    ],
)
def test_a_failed_statement_is_said_in_one_sentence(error, sentence):
    assert words.said(error) == sentence


def raised(store, run):
    with pytest.raises((StoreUnavailable, Clash)) as fault, store.transaction() as tx:
        run(tx)
    text = str(fault.value)
    assert text.startswith(store.driver.name + ": ")
    assert not any(kind in text for kind in vars(errors)), text
    assert "\n" not in text
    return text.removeprefix(store.driver.name + ": ")


def test_real_errors_of_statements(postgres_database):
    store = postgres_database.store
    assert raised(store, lambda tx: tx.rows("SELECT * FROM nowhere")) == 'relation "nowhere" does not exist'
    assert (
        raised(store, lambda tx: tx.rows("SELECT 'hunter2'::int")) == "it does not take such a value (SQLSTATE 22P02)"
    )
    assert raised(store, lambda tx: tx.rows("SELECT %(text)s::text", text="a\0b")) == "it does not take such a value"
    again = "INSERT INTO site SELECT * FROM site"
    assert raised(store, lambda tx: tx.write(again)) == "there is a row like this already"


def test_real_errors_of_connections(postgres_server, postgres_database):
    there = open_store(postgres.named(postgres_server, "nowhere"))
    with pytest.raises(StoreUnavailable, match='cannot connect: database "nowhere" does not exist; make the database'):
        there.driver.connect()
    nobody = postgres_database.url.replace("postgres:@", "nobody@").replace("postgres@", "nobody@")
    with pytest.raises(StoreUnavailable, match=r"cannot connect: .*nobody"):
        open_store(nobody).driver.connect()


def test_a_connection_that_is_cut_during_commit_is_not_known_to_have_failed(postgres_database):
    store = postgres_database.store
    with (
        pytest.raises(CommitUnknown, match="not known whether the change was made") as fault,
        store.transaction() as tx,
    ):
        ((pid,),) = [tuple(row.values()) for row in tx.rows("SELECT pg_backend_pid()")]
        postgres_database.run(f"SELECT pg_terminate_backend({pid}, 5000)")
    assert "AdminShutdown" not in str(fault.value)
