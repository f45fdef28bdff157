"""`mailauth import`: every kind of place, bad lines by number, and again after an interruption."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from commandline import Cli
from servers import authority
from strange_servers import certified, serving

CRYPT = "$6$x2mdRrruvP9GT8gK$yHJZUlWSDnTrO48iuPwamVKtwSszNnSargccFt4OnaFY9ow.kI1UzO1NGAhEaW2Ti8B3LPeo4PRGFFm53fS3I0"
SECRET = "pässword 中"  # what made it


def imported(mailauth: Cli, kind: str, source: object, *options: str, code: int = 0):
    said = mailauth("import", kind, str(source), "--json", *options)
    assert said.code == code, said.err
    return said.json


def judged(mailauth: Cli, login: str, password: str = SECRET) -> int:
    return mailauth("verify", login, "--service", "imap", "--password-stdin", stdin=password + "\n").code


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_bytes(
        b"# comment\n"
        + f"alice@example.org:{{SHA512-CRYPT}}{CRYPT}:1000:1000::/home/alice\n".encode()
        + f"bob:{CRYPT}\n".encode()
        + "carol@example.org:{PLAIN}pässword 中\n".encode()
        + b"no colon\n"
        + b"broken@example.org:{NOSUCH}x\n"
        + b"\xff\xfe:x\n"
        + b"not a login:x\n"
        + b"alice@EXAMPLE.org:{PLAIN}other\n"
        + b"dave@example.org:{PLAIN}x:::::: nologin allow_nets=10.0.0.0/8\n"
        + b"weak@example.org:{MD5}$1$uMBLumtq$XEji0cYTXB2vc./R/peHu.\n"
    )
    return path


def test_a_passwd_file_with_bad_lines(mailauth, users):
    told = imported(mailauth, "passwd-file", users, "--domain", "example.org", code=65)
    assert (told["added"], told["already_there"], told["dry_run"]) == (5, 0, False)
    assert [one["place"] for one in told["bad"]] == [f"line {number}" for number in (5, 6, 7, 8, 9)]
    assert told["weak_hashes"] == {"MD5": 1}
    assert [one["login"] for one in told["left_out"]] == ["dave@example.org"]
    for login in ("alice", "bob", "carol"):
        assert judged(mailauth, f"{login}@example.org") == 0
        assert judged(mailauth, f"{login}@example.org", "wrong") == 77
    assert judged(mailauth, "dave@example.org", "x") == 77
    assert mailauth("account", "show", "broken@example.org").code == 66


def test_run_again_it_adds_what_was_mended_and_leaves_the_rest(mailauth, users):
    imported(mailauth, "passwd-file", users, "--domain", "example.org", code=65)
    assert mailauth("account", "set", "alice@example.org", "--mode", "on").code == 0
    users.write_text(f"alice@example.org:{{PLAIN}}another\nbroken@example.org:{CRYPT}\n")
    told = imported(mailauth, "passwd-file", users)
    assert (told["added"], told["already_there"], told["bad"]) == (1, 1, [])
    assert judged(mailauth, "broken@example.org") == 0
    assert judged(mailauth, "alice@example.org", "another") == 77


def test_a_dry_run_tells_the_same_and_changes_nothing(mailauth, users):
    options = ("--domain", "example.org")
    dry = imported(mailauth, "passwd-file", users, *options, "--dry-run", code=65)
    assert mailauth("account", "list", "--json").json == []
    assert dry == imported(mailauth, "passwd-file", users, *options, code=65) | {"dry_run": True}


def test_a_password_in_clear_is_not_stored_so_and_no_secret_is_told(mailauth, users, site):
    said = mailauth("import", "passwd-file", str(users), "--domain", "example.org")
    assert said.code == 65
    assert SECRET not in said.out + said.err
    for path in site.glob("*.db*"):
        assert SECRET.encode() not in path.read_bytes()


def test_what_cannot_be_used_can_be_left_without_a_password(mailauth, users):
    told = imported(mailauth, "passwd-file", users, "--domain", "example.org", "--without-password", code=65)
    assert told["added"] == 6
    assert mailauth("account", "show", "broken@example.org", "--json").json["has_web_password"] is False


@pytest.mark.parametrize("password", ["{PLAIN}x", "x"])
def test_the_default_scheme_is_that_of_bare_hashes_only(mailauth, tmp_path, password):
    path = tmp_path / "users"
    path.write_text(f"alice@example.org:{password}\n")
    imported(mailauth, "passwd-file", path, "--default-scheme", "{plain}")
    assert judged(mailauth, "alice@example.org", "x") == 0


def test_csv(mailauth, tmp_path):
    path = tmp_path / "accounts.csv"
    path.write_text(
        "\ufeffLogin,password,enabled,services,aliases\r\n"
        f'alice@example.org,{CRYPT},yes,"imap,smtp",a1@example.org a2@example.org\r\n'
        f"bob@example.org,{CRYPT},no,,\r\n"
        "carol@example.org,,1,,alice@example.org\r\n"
        "short@example.org\r\n"
        "what@example.org,,1,gopher,\r\n",
        encoding="utf-8",
        newline="",
    )
    told = imported(mailauth, "csv", path, code=65)
    assert (told["added"], told["aliases_added"]) == (3, 2)
    assert [one["place"] for one in told["bad"]] == ["line 5", "line 6"]
    assert [one["place"] for one in told["left_out"]] == ["line 4"]
    alice = mailauth("account", "show", "alice@example.org", "--json").json
    assert alice["aliases"] == ["a1@example.org", "a2@example.org"]
    assert judged(mailauth, "alice@example.org") == 0
    assert judged(mailauth, "bob@example.org") == 77
    assert imported(mailauth, "csv", path, code=65)["aliases_added"] == 0


@pytest.mark.parametrize("head", ["password\n", "login,secret\n", "login,login\n", "", "\xff"])
def test_a_csv_without_its_columns_is_refused_whole(mailauth, tmp_path, head):
    path = tmp_path / "accounts.csv"
    path.write_text(head, encoding="latin-1")
    said = mailauth("import", "csv", str(path))
    assert said.code == 65
    assert "accounts.csv" in said.err


MAILBOXES = [  # in one line, as mysqldump writes them
    r"""('alice@example.org','HASH','O\'Hara; (x), \\ ''q''','{\"pop3_access\":\"0\"}','','mailcow',1)""",
    "('bob@example.org','HASH',NULL,'[]','','mailcow',2)",
    "('dora@example.org','HASH',NULL,'not json','','mailcow',1)",
    "('emil@example.org','HASH',NULL,'[1]','','mailcow',1)",
    "('room@example.org','HASH','R',NULL,'location','mailcow',1)",
    "('carol@example.org','','C',NULL,'','ldap',1)",
    "('off@example.org','HASH','',NULL,'','mailcow',0)",
]
DUMP = r"""-- MariaDB dump
CREATE TABLE `alias` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `address` varchar(255) NOT NULL,
  `goto` text NOT NULL,
  `active` tinyint(1) NOT NULL DEFAULT 1,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
INSERT INTO `alias` VALUES
(1,'alice@example.org','alice@example.org',1),
(2,'info@example.org','alice@example.org',1),
(3,'all@example.org','alice@example.org,bob@example.org',1),
(4,'@example.org','alice@example.org',1),
(5,'old@example.org','alice@example.org',0);
CREATE TABLE `app_passwd` (
  `id` int(11) NOT NULL,
  `mailbox` varchar(255) NOT NULL,
  `password` varchar(255) NOT NULL
);
INSERT INTO `app_passwd` VALUES (1,'alice@example.org','{BLF-CRYPT}x'),(2,'alice@example.org','y');
CREATE TABLE `sogo_junk` (
  `c` longtext
);
INSERT INTO `sogo_junk` VALUES ('it\'s (not) read; \\'), ('nor '' this');
CREATE TABLE `mailbox` (
  `username` varchar(255) NOT NULL,
  `password` varchar(255) NOT NULL,
  `name` varchar(255) DEFAULT NULL,
  `attributes` longtext,
  `kind` varchar(100) NOT NULL DEFAULT '',
  `authsource` enum('mailcow','ldap') DEFAULT 'mailcow',
  `active` tinyint(1) NOT NULL DEFAULT 1
);
INSERT INTO `mailbox` VALUES MAILBOXES;
CREATE TABLE `tfa` (
  `username` varchar(255) NOT NULL,
  `active` tinyint(1) DEFAULT 0
);
INSERT INTO `tfa` VALUES ('alice@example.org',1),('bob@example.org',0);
""".replace("MAILBOXES", ",".join(MAILBOXES))


def test_mailcow_by_its_dump(mailauth, tmp_path):
    path = tmp_path / "mailcow.sql"
    path.write_text(DUMP.replace("HASH", CRYPT))
    told = imported(mailauth, "mailcow", path, code=65)
    assert (told["added"], told["aliases_added"]) == (4, 1)
    assert [one["place"] for one in told["bad"]] == ["mailbox dora@example.org", "mailbox emil@example.org"]
    left_out = {(one["place"], one["what"].partition(":")[0]) for one in told["left_out"]}
    assert left_out == {
        ("mailbox alice@example.org", "2 app passwords"),
        ("mailbox alice@example.org", "1 second factors"),
        ("mailbox room@example.org", "a resource (location), and no account"),
        ("mailbox carol@example.org", "a web password, which ldap keeps"),
        ("alias all@example.org", "delivers to several addresses, or catches all"),
        ("alias @example.org", "delivers to several addresses, or catches all"),
        ("alias old@example.org", "is switched off there"),
    }
    alice = mailauth("account", "show", "alice@example.org", "--json").json
    assert alice["aliases"] == ["info@example.org"]
    assert judged(mailauth, "alice@example.org") == 0
    assert judged(mailauth, "bob@example.org") == 77, "active 2 takes mail, and lets nobody in"
    assert judged(mailauth, "off@example.org") == 77
    said = mailauth("verify", "alice@example.org", "--service", "pop3", "--password-stdin", stdin=SECRET + "\n")
    assert said.code == 77


@pytest.mark.parametrize("cut", [-300, -120, 1500])
def test_a_dump_that_is_cut_off_is_refused_and_nothing_is_lost_in_silence(mailauth, tmp_path, cut):
    path = tmp_path / "mailcow.sql"
    whole = DUMP.replace("HASH", CRYPT)
    path.write_text(whole[: whole.index("'off@example.org'")] if cut == -300 else whole[: len(whole) // 2])
    said = mailauth("import", "mailcow", str(path))
    assert said.code == 65
    assert mailauth("account", "list", "--json").json == []


def _sqlite(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.replace("HASH", CRYPT))
    return path


POSTFIXADMIN = """
CREATE TABLE mailbox (username TEXT, password TEXT, active INTEGER, totp_secret TEXT);
CREATE TABLE domain (domain TEXT, active INTEGER);
CREATE TABLE alias (address TEXT, goto TEXT, active INTEGER);
CREATE TABLE mailbox_app_password (id INTEGER, username TEXT);
INSERT INTO domain VALUES ('ALL', 1), ('example.org', 1), ('closed.test', 0);
INSERT INTO mailbox VALUES ('alice@example.org', 'HASH', 1, 'x'), ('bob@closed.test', 'HASH', 1, NULL);
INSERT INTO alias VALUES ('alice@example.org', 'alice@example.org', 1), ('info@example.org', 'alice@example.org', 1);
INSERT INTO alias VALUES ('out@example.org', 'somebody@elsewhere.test', 1);
INSERT INTO mailbox_app_password VALUES (1, 'alice@example.org');
"""


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_postfixadmin_in_sqlite(mailauth, tmp_path, form):
    path = _sqlite(tmp_path / "postfixadmin.db", POSTFIXADMIN)
    told = imported(mailauth, "postfixadmin", form.format(path))
    assert (told["added"], told["aliases_added"]) == (2, 1)
    assert len(told["left_out"]) == 3
    assert judged(mailauth, "alice@example.org") == 0
    assert judged(mailauth, "bob@closed.test") == 77


def test_postfixadmin_in_postgresql(mailauth, postgres_server):
    import psycopg  # noqa: PLC0415

    import postgres  # noqa: PLC0415

    with postgres.database(postgres_server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                POSTFIXADMIN.replace("HASH", CRYPT)
                .replace("active INTEGER", "active BOOLEAN")
                .replace(", 1)", ", true)")
                .replace(", 0)", ", false)")
                .replace(", 1, ", ", true, ")
            )
        told = imported(mailauth, "postfixadmin", url)
    assert (told["added"], told["aliases_added"]) == (2, 1)
    assert judged(mailauth, "alice@example.org") == 0


@pytest.mark.parametrize(
    ("at", "query", "is_told"),
    [
        ("127.0.0.2", "", False),
        ("127.0.0.2", "?sslrootcert={ca}", True),
        ("127.0.0.3", "?sslrootcert={ca}", False),  # the certificate is another's
        ("127.0.0.3", "?sslmode=require", True),  # he has written it
    ],
)
async def test_a_postgresql_on_another_machine_is_verified(
    mailauth: Cli, tmp_path: Path, at: str, query: str, is_told: bool
) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    there = certified()
    async with serving(there.talk, at) as port:
        url = f"postgresql://mailauth@{at}:{port}/mail" + query.format(ca=tmp_path / "ca.pem")
        said = await asyncio.to_thread(mailauth, "import", "mailu", url)
    assert said.code == 65
    assert there.was_told == is_told
    assert ("must prove its name" in said.err) == ("sslmode" not in query)


def test_mailu_in_sqlite(mailauth, tmp_path):
    path = _sqlite(
        tmp_path / "main.db",
        """
CREATE TABLE user (email TEXT, localpart TEXT, password TEXT, enabled BOOLEAN, enable_imap BOOLEAN, enable_pop BOOLEAN,
  global_admin BOOLEAN);
CREATE TABLE token (id INTEGER, user_email TEXT, password TEXT);
CREATE TABLE alias (email TEXT, destination TEXT, wildcard BOOLEAN);
CREATE TABLE alternative (name TEXT, domain_name TEXT);
INSERT INTO user VALUES ('alice@example.org', 'alice', '{SHA512-CRYPT}HASH', 1, 1, 0, 1);
INSERT INTO token VALUES (1, 'alice@example.org', 'x');
INSERT INTO alias VALUES ('info@example.org', 'alice@example.org', 0), ('x%@example.org', 'alice@example.org', 1);
INSERT INTO alternative VALUES ('example.net', 'example.org');
""",
    )
    told = imported(mailauth, "mailu", path)
    assert (told["added"], told["aliases_added"]) == (1, 1)
    assert len(told["left_out"]) == 4
    assert judged(mailauth, "alice@example.org") == 0


@pytest.mark.parametrize(
    ("kind", "source", "told"),
    [
        ("mailcow", "mysql://root@db/mailcow", "mysqldump"),
        ("mailcow", "/no/such/file", "No such file"),
        ("mailu", "postgresql://nobody@127.0.0.1:1/none", "PostgreSQL"),
        ("passwd-file", "/no/such/file", "No such file"),
    ],
)
def test_what_cannot_be_read_at_all_is_said_in_a_line(mailauth, kind, source, told):
    said = mailauth("import", kind, source)
    assert said.code == 65
    assert told in said.err


def test_another_systems_database_is_known_not_to_be_one(mailauth, tmp_path):
    path = _sqlite(tmp_path / "other.db", "CREATE TABLE other (x TEXT);")
    for kind in ("postfixadmin", "mailcow", "mailu"):
        assert "is this a database of" in mailauth("import", kind, str(path)).err


def test_many_accounts_are_added_in_batches_and_progress_is_told(mailauth, tmp_path):
    path = tmp_path / "users"
    path.write_text("".join(f"user{number}@example.org:{CRYPT}\n" for number in range(1001)))
    said = mailauth("import", "passwd-file", str(path))
    assert said.code == 0
    assert "1000 accounts so far" in said.err
    assert "added: 1001" in said.out


def test_want_of_memory_is_no_fault_of_a_hash(mailauth, users, monkeypatch):
    """Else an account would lose its web password to it."""

    def out_of_memory(_: str) -> None:
        raise MemoryError

    monkeypatch.setattr("mailauth.hashing.records.check", out_of_memory)
    said = mailauth("import", "passwd-file", str(users), "--domain", "example.org", "--without-password")
    assert said.code not in {0, 65}
    assert mailauth("account", "list", "--json").json == []
