"""A query and a file: which hash it is, that values are bound, and that what cannot be had is a fault."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pymysql
import pytest
from daemons import Mariadb, mariadb

import postgres
from doubles import PlainHashes
from mailauth.factors.section import BadSection, Section
from mailauth.hashing import records
from mailauth.interfaces import BadRecord, Lane, SourceUnavailable
from mailauth.sources import file, sql, sql_databases
from servers import authority
from strange_servers import Postgresql, certified, serving
from wire import eventually

ALICE, WEB = "alice@example.test", b"correct horse"
HTPASSWD = "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00"  # of "password", from Apache's documentation of its formats
BCRYPT = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"  # of "myPassword", from the same page
QUERY = "SELECT password FROM users WHERE email = :login AND domain = :domain"
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n), :login FROM r"


class Hashes(PlainHashes):
    """The real thing, without a pool."""

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        return records.verify(record, secret)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Mariadb]:
    with mariadb() as server:
        yield server


def as_root(server: Mariadb) -> pymysql.Connection:
    return pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True, charset="utf8mb4")


@pytest.fixture
def users_in_mariadb(mariadb_server: Mariadb) -> Iterator[str]:
    """The name of a database, and of a user who reads it with the password `who asks`."""
    name = "mail_" + secrets.token_hex(4)
    with closing(as_root(mariadb_server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        cursor.execute(f"CREATE USER {name} IDENTIFIED BY 'who asks'")
        cursor.execute(f"GRANT SELECT ON {name}.* TO {name}")
        yield name
        cursor.execute(f"DROP DATABASE {name}")
        cursor.execute(f"DROP USER {name}")


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with users."""
    rows = [
        (ALICE, "example.test", "{PLAIN}correct horse"),
        ("null@example.test", "example.test", None),
        ("empty@example.test", "example.test", ""),
        ("twin@example.test", "example.test", "{PLAIN}x"),
        ("twin@example.test", "example.test", "{PLAIN}x"),
        ("torn@example.test", "example.test", "{NOSUCH}x"),
        ("bare@example.test", "example.test", "correct horse"),
    ]
    create = "CREATE TABLE users (email TEXT, domain TEXT, password TEXT)"
    if request.param == "sqlite":
        path = tmp_path / "users ?#%.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(create)
            connection.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)
        yield f"sqlite:///{path}"
        return
    if request.param == "mysql":
        server, name = request.getfixturevalue("mariadb_server"), request.getfixturevalue("users_in_mariadb")
        with closing(as_root(server)) as root, root.cursor() as cursor:
            cursor.execute(create.replace("users", f"{name}.users"))
            cursor.executemany(f"INSERT INTO {name}.users VALUES (%s, %s, %s)", rows)
        yield f"mysql://root@localhost/{name}?socket={server.socket}"
        return
    import psycopg  # noqa: PLC0415

    with postgres.database(request.getfixturevalue("postgres_server")) as there:
        with psycopg.connect(there, autocommit=True) as connection:
            connection.execute(create)
            connection.cursor().executemany("INSERT INTO users VALUES (%s, %s, %s)", rows)
        yield there


def database(url: str, query: str = QUERY, folder: Path | str = "", **options: object) -> sql.SqlSource:
    return sql.build(Section({"url": url, "query": query, **options}, {"hashes": Hashes(), "folder": folder}))


async def test_the_right_password_is_a_yes_and_any_other_a_no(url):
    there = database(url)
    assert await there.check(ALICE, WEB)
    assert not await there.check(ALICE, b"wrong")
    for nobody in ("nobody@example.test", "null@example.test", "empty@example.test"):
        assert not await there.check(nobody, b"")
        assert not await there.check(nobody, WEB)
    await there.close()
    with pytest.raises(SourceUnavailable):
        await there.check(ALICE, WEB)


@pytest.mark.parametrize("login", ["' OR '1'='1", "x' UNION SELECT '{PLAIN}x' --", "%", "alice@example.test'--", "\\"])
async def test_values_are_bound(url, login):
    there = database(url, "SELECT password FROM users WHERE email = :login")
    assert not await there.check(login, WEB)
    await there.close()


async def test_placeholders_casts_and_percent_signs_stay_what_they_are(url):
    query = "SELECT password FROM users WHERE email = :local || '@' || :domain AND email LIKE '%@%'"
    if url.startswith("postgresql"):
        query = query.replace(":local", "CAST(:local AS text)") + " AND password::text <> ''"
    if url.startswith("mysql"):
        query = query.replace(":local || '@' || :domain", "CONCAT(:local, '@', :domain)")
    there = database(url, query)
    assert await there.check(ALICE, WEB)
    await there.close()


async def test_what_cannot_be_understood_is_a_fault(url):
    there = database(url)
    with pytest.raises(BadRecord):
        await there.check("twin@example.test", b"x")
    with pytest.raises(BadRecord):
        await there.check("torn@example.test", b"x")
    await there.close()
    for query in ("SELECT nonsense FROM users WHERE email = :login", "SELEKT :login"):
        broken = database(url, query)
        with pytest.raises(SourceUnavailable):
            await broken.check(ALICE, WEB)
        await broken.close()
    number = database(url, "SELECT 5 WHERE :login <> ''")
    with pytest.raises(BadRecord):
        await number.check(ALICE, WEB)
    await number.close()


async def test_the_scheme_of_bare_passwords_can_be_said(url):
    there = database(url, default_scheme="PLAIN")
    assert await there.check("bare@example.test", WEB)
    assert not await there.check("bare@example.test", b"wrong")
    await there.close()


async def test_a_database_that_is_not_there_is_a_fault(tmp_path):
    urls = f"sqlite:///{tmp_path}/none.db", "postgresql://nobody@127.0.0.1:1/none", "mysql://nobody@127.0.0.1:1/none"
    for url in urls:
        there = database(url)
        with pytest.raises(SourceUnavailable):
            await there.check(ALICE, WEB)
        await there.close()
    assert not (tmp_path / "none.db").exists()


async def test_connections_that_went_stale_say_nothing_about_the_server(postgres_server):
    with postgres.database(postgres_server) as url:
        there = database(url, "SELECT '{PLAIN}correct horse' WHERE :login <> ''")
        assert await asyncio.gather(*[there.check(ALICE, WEB) for _ in range(5)]) == [True] * 5
        postgres.run(
            postgres_server,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname LIKE 'mailauth_test_%' "
            "AND query LIKE '%correct horse%' AND pid <> pg_backend_pid()",
        )
        assert await there.check(ALICE, WEB)
        await there.close()


async def test_a_query_without_end_is_given_up(tmp_path):
    url = f"sqlite:///{tmp_path}/users.db"
    sqlite3.connect(tmp_path / "users.db").close()
    there = database(url, ENDLESS)
    (tmp_path / "users.db").touch()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await there.check(ALICE, WEB)


async def test_a_query_that_is_given_up_before_it_has_begun_keeps_no_thread(tmp_path, monkeypatch):
    (tmp_path / "users.db").touch()
    is_asked, is_given_up = threading.Event(), threading.Event()
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def late(*args: object, **options: object) -> sqlite3.Connection:
        is_asked.set()
        assert is_given_up.wait(30)
        connections.append(connect(*args, **{**options, "check_same_thread": False}))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", late)
    there = database(f"sqlite:///{tmp_path}/users.db", ENDLESS)
    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        asking = asyncio.create_task(there.check(ALICE, WEB))
        await eventually(is_asked.is_set)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        is_given_up.set()
        try:
            await asyncio.wait_for(asyncio.wrap_future(threads.submit(int)), 30)
        except TimeoutError:
            connections[0].interrupt()  # or nobody would see that it failed
            raise


async def test_mysql_connections_that_went_stale_say_nothing_about_the_server(mariadb_server, users_in_mariadb):
    url = f"mysql://{users_in_mariadb}@127.0.0.1:{mariadb_server.port}/{users_in_mariadb}"
    there = database(url, "SELECT '{PLAIN}correct horse' WHERE :login <> ''", password="who asks")
    assert await asyncio.gather(*[there.check(ALICE, WEB) for _ in range(5)]) == [True] * 5
    with closing(as_root(mariadb_server)) as root, root.cursor() as cursor:
        cursor.execute(f"KILL USER {users_in_mariadb}")
    assert await there.check(ALICE, WEB)
    await there.close()


async def test_mysql_is_asked_in_whatever_mode_and_of_any_letters(mariadb_server, users_in_mariadb):
    url = f"mysql://{users_in_mariadb}@127.0.0.1:{mariadb_server.port}/{users_in_mariadb}"
    odd, table = "jörg\\'@example.test", f"{users_in_mariadb}.users"
    with closing(as_root(mariadb_server)) as root, root.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (email VARCHAR(200) CHARACTER SET latin1, password TEXT)")
        cursor.execute(f"INSERT INTO {table} VALUES (%s, %s)", [odd, "{PLAIN}correct horse"])
        for mode in ("", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"):
            cursor.execute("SET GLOBAL sql_mode = %s", [mode])
            there = database(url, "SELECT password FROM users WHERE email = :login", password="who asks")
            assert await there.check(odd, WEB)
            for nobody in ("jörg'@example.test", "\\' OR 1=1 -- "):
                assert not await there.check(nobody, WEB)
            with pytest.raises(SourceUnavailable):  # the column cannot hold such letters, and the server says so
                await there.check("張@example.test", WEB)
            await there.close()
        cursor.execute("SET GLOBAL sql_mode = DEFAULT")


async def test_mysql_on_another_machine_is_asked_by_tls_and_its_certificate_is_verified(
    mariadb_server, users_in_mariadb
):
    url = f"mysql://{users_in_mariadb}@127.0.0.2:{mariadb_server.port}/{users_in_mariadb}"
    query = "SELECT IF(VARIABLE_VALUE <> '', '{PLAIN}correct horse', '') FROM information_schema.SESSION_STATUS "
    query += "WHERE VARIABLE_NAME = 'Ssl_cipher' AND :login <> ''"
    there = database(url, query, password="who asks", ca=str(mariadb_server.ca))
    assert await there.check(ALICE, WEB)
    await there.close()
    unknown = database(url, query, password="who asks")
    with pytest.raises(SourceUnavailable):
        await unknown.check(ALICE, WEB)
    await unknown.close()


async def test_mysql_on_another_machine_that_offers_no_tls_hears_nothing() -> None:
    """It may be somebody in between who has taken the offer out, and asks for the password as it is."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        abilities = 0x0200 | 0x8000 | 0x80000  # PROTOCOL_41, SECURE_CONNECTION and PLUGIN_AUTH, but not SSL
        low, high = (abilities & 0xFFFF).to_bytes(2, "little"), (abilities >> 16).to_bytes(2, "little")
        head = b"\x0a8.0.0\0" + bytes(4) + b"saltsalt\0" + low + b"\x2d\x02\x00" + high
        greeting = head + b"\x15" + bytes(10) + b"saltsaltsalt\0mysql_clear_password\0"
        writer.write(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        heard.set_result(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(without_tls, "127.0.0.2", 0) as server:
        there = database(
            f"mysql://u@127.0.0.2:{server.sockets[0].getsockname()[1]}/d", "SELECT :login", password="ours"
        )
        with pytest.raises(SourceUnavailable):
            await there.check(ALICE, WEB)
        await there.close()
        assert await asyncio.wait_for(heard, 30) == b""


async def test_a_mysql_that_hangs_holds_up_nothing_else_that_waits_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_databases, "ANSWER_S", 60)
    writers: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        there = database(f"mysql://u@127.0.0.1:{server.sockets[0].getsockname()[1]}/d", "SELECT :login")
        asking = asyncio.create_task(there.check(ALICE, WEB))
        await eventually(lambda: writers)
        assert await asyncio.wait_for(asyncio.to_thread(str, 7), 30) == "7"
        writers[0].close()
        with pytest.raises(SourceUnavailable):
            await asking
        await there.close()


async def asked(listener: Postgresql, at: str, url: str, **options: object) -> bool:
    """Whether it was told of users, when it listens at this address."""
    async with serving(listener.talk, at) as port:
        there = database(url.format(port=port), "SELECT :login", password="ours", **options)
        with pytest.raises(SourceUnavailable, match=r"^PostgreSQL: OperationalError$"):
            await there.check(ALICE, WEB)
        await there.close()
    return listener.was_told


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        ("postgresql://mailauth@127.0.0.2:{port}/mail", False),
        ("postgresql://mailauth@127.0.0.2:{port}/mail?sslrootcert=/none.pem", False),
        ("postgresql://mailauth@:{port}/mail?host=127.0.0.2", False),
        ("postgresql://mailauth@localhost:{port}/mail?hostaddr=127.0.0.2", False),
        ("postgresql://mailauth@127.0.0.1:1,127.0.0.2:{port}/mail", False),
        ("postgresql://mailauth@127.0.0.2:{port}/mail?sslmode=prefer", True),  # he has written it
    ],
)
async def test_postgresql_on_another_machine_that_has_no_tls_hears_nothing(url: str, is_told: bool) -> None:
    assert await asked(Postgresql(), "127.0.0.2", url) == is_told


async def test_postgresql_on_this_machine_needs_no_tls() -> None:
    assert await asked(Postgresql(), "127.0.0.1", "postgresql://mailauth@127.0.0.1:{port}/mail")


@pytest.fixture
def authorities(tmp_path: Path) -> Path:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("at", "query", "is_named", "is_told"),
    [
        ("127.0.0.2", "", True, True),
        ("127.0.0.2", "", False, False),
        ("127.0.0.3", "", True, False),  # the certificate is another's
        ("127.0.0.2", "?sslrootcert={ca}", False, True),
        ("127.0.0.3", "?sslrootcert={ca}", False, False),
        ("127.0.0.2", "?sslmode=require", False, True),
        ("127.0.0.3", "?sslmode=verify-ca", True, True),
    ],
)
async def test_the_certificate_of_a_postgresql_on_another_machine_is_verified(
    authorities: Path, at: str, query: str, is_named: bool, is_told: bool
) -> None:
    url = f"postgresql://mailauth@{at}:{{port}}/mail" + query.format(ca=authorities)
    options = {"ca": authorities.name, "folder": authorities.parent} if is_named else {}
    assert await asked(certified(), at, url, **options) == is_told


async def test_the_system_s_authorities_are_believed_of_a_postgresql(
    authorities: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    assert await asked(certified(), "127.0.0.2", "postgresql://mailauth@127.0.0.2:{port}/mail")


async def test_a_wrong_password_of_ours_is_a_fault_that_quotes_nothing(mariadb_server, users_in_mariadb):
    url = f"mysql://{users_in_mariadb}@127.0.0.1:{mariadb_server.port}/{users_in_mariadb}"
    there = database(url, "SELECT :login", password="another")
    with pytest.raises(SourceUnavailable) as fault:
        await there.check(ALICE, WEB)
    assert str(fault.value) == "MySQL: OperationalError (1045)"


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"url": "mysql://u:secret@h/d"}, "url"),
        ({"url": "mysql://u@h/d", "ca": "/none.pem"}, "ca"),
        ({"url": "postgresql://u@h/d", "ca": "/none.pem"}, "ca"),
        ({"url": "oracle://u@h/d"}, "url"),
        ({"url": "postgresql://u:secret@h/d"}, "url"),
        ({"url": "sqlite:///"}, "url"),
        ({"query": "SELECT password FROM users"}, "query"),
        ({"query": "SELECT password FROM users WHERE a = ':loginname'"}, "query"),
    ],
)
def test_a_query_that_cannot_be_is_refused_with_its_key(options, key):
    with pytest.raises(BadSection) as bad:
        sql.build({"url": "sqlite:///x", "query": QUERY, **options})
    assert bad.value.key == key
    assert "secret" not in str(bad.value)


# ---- the file


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(
        "# people\n\n"
        "alice@example.test:{PLAIN}correct horse:1000:1000::/home/alice::userdb_quota=1G\n"
        f"apache@example.test:{HTPASSWD}\n"
        f"bare:{BCRYPT}\r\n"
        "Loud@Example.Test:{PLAIN}x\n"
        "no colon here\n"
        "twin@example.test:{PLAIN}x\ntwin@example.test:{PLAIN}x\n"
        "out@example.test:{PLAIN}x:::::: nologin=y\n"
        "near@example.test:{PLAIN}x:::::: allow_nets=10.0.0.0/8\n"
        "empty@example.test::\n"
        "torn@example.test:{NOSUCH}x\n"
        "bald@example.test\n"
    )
    with path.open("ab") as more:
        more.write(b"latin@example.test:{PLAIN}x:1000:1000:Ren\xe9\n")
    return path


def passwords(path: Path, **options: object) -> file.FileSource:
    wired = {"hashes": Hashes(), "folder": path.parent}
    return file.build(Section({"path": path.name, **options}, wired))


async def test_passwd_files_and_htpasswd_files_are_read(users):
    there = passwords(users, default_domain="example.test")
    assert await there.check(ALICE, WEB)
    assert not await there.check(ALICE, b"wrong")
    assert await there.check("apache@example.test", b"password")
    assert await there.check("bare@example.test", b"myPassword")
    assert await there.check("loud@example.test", b"x")
    assert not await passwords(users).check("bare@example.test", b"myPassword")


async def test_who_may_not_log_in_does_not_and_what_cannot_be_said_is_a_fault(users, caplog):
    there = passwords(users)
    for nobody in ("out@example.test", "empty@example.test", "nobody@example.test"):
        assert not await there.check(nobody, b"x")
        assert not await there.check(nobody, b"")
    for local, why in (("twin", "the only one"), ("near", "allow_nets"), ("torn", "NOSUCH"), ("bald", "no colon")):
        with pytest.raises(BadRecord, match=why):
            await there.check(f"{local}@example.test", b"x")
    with pytest.raises(BadRecord, match="not UTF-8"):
        await there.check("latin@example.test", b"x")
    assert "line 7" in caplog.text
    assert "{PLAIN}" not in caplog.text


async def test_a_change_is_seen_at_once_however_it_is_made(users):
    there = passwords(users)
    assert await there.check(ALICE, WEB)
    before = users.stat()
    users.write_bytes(users.read_bytes().replace(b"correct horse", b"horse correct"))  # of the same length
    os.utime(users, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await there.check(ALICE, b"horse correct")
    other = users.with_name("new")
    other.write_text("alice@example.test:{PLAIN}third\n")
    other.replace(users)
    assert await there.check(ALICE, b"third")
    assert not await there.check(ALICE, b"horse correct")


async def test_a_file_that_has_settled_is_not_read_again(users):
    there = passwords(users)
    long_ago = users.stat().st_mtime_ns - 60 * 10**9
    os.utime(users, ns=(long_ago, long_ago))
    there._users = file.Users(file._version(users), {})  # as if it had been read so
    assert not await there.check(ALICE, WEB)


@pytest.mark.parametrize("damage", ["gone", "empty", "folder"])
async def test_a_file_that_cannot_be_read_says_nothing_about_a_password(users, damage):
    there = passwords(users)
    assert await there.check(ALICE, WEB)
    users.unlink()
    if damage == "empty":
        users.touch()
    if damage == "folder":
        users.mkdir()
    with pytest.raises(SourceUnavailable):
        await there.check(ALICE, WEB)
