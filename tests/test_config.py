"""mailauth.toml: what is taken, what is refused and in which words, and that file and page come from one list."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from mailauth import config
from mailauth.attempt import Service
from mailauth.config import Address, ConfigError
from mailauth.config.bounds import Hashing
from mailauth.config.plugged import KINDS
from mailauth.config.settings import REPEATED, SECTIONS, Policy, Settings
from mailauth.config.writing import page, render, written
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import PolicyLevel

NEEDED = '[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "keys"\n'
TLS = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n'
IMAP = '[[listen]]\nservice = "imap"\naddress = "127.0.0.1:1993"\ntls = "implicit"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mailauth.toml"


def loaded(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return config.load(file)


def refusal(file: Path, text: str | bytes) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith(f"{file}: ")
    return told.removeprefix(f"{file}: ")


def test_the_least_file_is_taken_and_everything_else_has_its_default(file: Path) -> None:
    settings = loaded(file, NEEDED)
    assert settings.source == file
    assert settings.store.url == f"sqlite:///{file.parent}/mailauth.db"
    assert settings.key.file == file.parent / "keys"
    assert settings.mailbox.path == file.parent / "mail"
    assert (settings.tls, settings.relay, settings.listen, settings.log.file) == (None, None, (), None)
    assert settings.policy == Policy()
    assert settings.policy.policy is PolicyLevel.OPTIONAL
    assert settings.hashing == Hashing(time_cost=2, memory_kib=19456, parallelism=1, threads=0)
    assert settings.replies.refusal_delay_s == 2.0
    assert settings.submission.greeting_name == os.uname().nodename


def test_a_whole_file_is_read_into_values_of_the_right_type(file: Path) -> None:
    settings = loaded(
        file,
        '[store]\nurl = "postgresql://mail@db.example/mailauth"\npassword_file = "secret"\ntimeout_s = 2\n'
        '[key]\nfile = "/etc/mailauth/keys"\n' + TLS + '[[listen]]\nservice = "smtp"\naddress = "[::1]:587"\n'
        'tls = "starttls"\nproxy_from = ["10.0.0.0/8", "2001:db8::/32"]\nreuse_port = true\n' + IMAP + "[relay]\n"
        'host = "smtp.example.com"\nusername = "relay"\npassword_file = "env:RELAY_PASSWORD"\n'
        '[policy]\npolicy = "enforced"\ntimezone = "Asia/Shanghai"\n[log]\nfile = "mailauth.log"\n',
    )
    smtp, imap = settings.listen
    assert smtp.service is Service.SMTP
    assert smtp.address == Address("::1", 587)
    assert str(smtp.address) == "[::1]:587"
    assert smtp.proxy_from == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert (smtp.reuse_port, imap.reuse_port) == (True, False)
    assert str(imap.address) == "127.0.0.1:1993"
    assert settings.store.url == "postgresql://mail@db.example/mailauth"
    assert settings.store.timeout_s == 2.0
    assert type(settings.store.timeout_s) is float
    assert settings.key.file == Path("/etc/mailauth/keys")
    assert settings.log.file == file.parent / "mailauth.log"
    assert settings.policy.policy is PolicyLevel.ENFORCED


def test_tables_may_be_appended_at_the_end(file: Path) -> None:
    text = render({"store": {"url": "sqlite:///a"}, "key": {"file": "k"}, "listen": [_listener(1143)]})
    settings = loaded(file, text + '\n[[listen]]\nservice = "pop3"\naddress = "127.0.0.1:1110"\ntls = "off"\n')
    assert [listener.service for listener in settings.listen] == ["imap", "pop3"]


def _listener(port: int) -> dict[str, object]:
    return {"service": "imap", "address": f"127.0.0.1:{port}", "tls": "off"}


REFUSED = {
    "": "section [store] is missing; `mailauth init` writes a whole file",
    '[store]\nurl = "sqlite:///a"\n': "section [key] is missing; `mailauth init` writes a whole file",
    "[store\n": "is not valid TOML: ",
    NEEDED + "[stroe]\n": "section [stroe]: is unknown to this version; did you mean section [store]?",
    NEEDED + "[webmail]\n": "section [webmail]: is unknown to this version; there are: store, key, tls, listen, ",
    NEEDED + "[replies]\nrefusal_delay = 1\n": "[replies] refusal_delay: is unknown to this version; "
    "did you mean refusal_delay_s?",
    NEEDED + "[log]\nzzzz = 1\n": "[log] zzzz: is unknown to this version; there are: level, file",
    "store = 3\n": "section [key] is missing; `mailauth init` writes a whole file",
    "store = 3\nkey = 4\n": "[store] must be a table, written [store] once",
    NEEDED + "[[log]]\n": "[log] must be a table, written [log] once",
    NEEDED + "[listen]\n": "[listen] must be written [[listen]], once for each address",
    "[store]\n[key]\n": "[store] url: is missing; it says: sqlite:///PATH, or postgresql://",
    '[store]\nurl = "mysql://x"\n[key]\n': '[store] url: must be "sqlite:///PATH" or "postgresql://USER@HOST/DATABASE"',
    '[store]\nurl = "sqlite:///"\n[key]\n': '[store] url: must be "sqlite:///PATH"',
    '[store]\nurl = "postgresql://u:hush@h/d"\n[key]\n': "[store] url: holds a password; put that into a file and ",
    '[store]\nurl = "postgresql://u@h/d?password=hush"\n[key]\n': "[store] url: holds a password; put that into a ",
    NEEDED.replace("[key]", 'password = "hush"\n[key]'): "[store] password: a password does not stand in this file; ",
    NEEDED + '[relay]\nhost = "h"\npassword = "hush"\n': "[relay] password: a password does not stand in this file; ",
    NEEDED + "[throttle]\nenabled = 1\n": "[throttle] enabled: must be true or false",
    NEEDED + "[limits]\nmax_failures = true\n": "[limits] max_failures: must be a whole number, 1 to 100",
    NEEDED + "[limits]\nmax_failures = 5.0\n": "[limits] max_failures: must be a whole number, 1 to 100",
    NEEDED + "[limits]\nmax_failures = 0\n": "[limits] max_failures: must be 1 to 100 (is 0)",
    NEEDED + "[replies]\nrefusal_delay_s = nan\n": "[replies] refusal_delay_s: must be 0 to 10 seconds (is nan)",
    NEEDED + "[replies]\nrefusal_delay_s = true\n": "[replies] refusal_delay_s: must be a number, 0 to 10 seconds",
    NEEDED + "[replies]\nrefusal_delay_s = -1\n": "[replies] refusal_delay_s: must be 0 to 10 seconds (is -1)",
    NEEDED + '[replies]\nhelp_line = "a\\u0007b"\n': "[replies] help_line: must be one line without control characters",
    NEEDED + f'[replies]\nhelp_line = "{"a" * 201}"\n': "[replies] help_line: must be at most 200 bytes of UTF-8",
    NEEDED + '[policy]\npolicy = "strict"\n': '[policy] policy: must be "optional", "observe" or "enforced"',
    NEEDED + '[policy]\ntimezone = "Mars/Olympus"\n': "[policy] timezone: must be a time zone this system knows",
    NEEDED + '[policy]\napp_password_alphabet = "abc"\n': "[policy] app_password_alphabet: this alphabet gives 25 bits",
    NEEDED + "[hashing]\nmemory_kib = 64\n": "[hashing] memory_kib: must be 7168 to 1048576 (is 64)",
    NEEDED + '[throttle]\ntrusted_networks = "10.0.0.0/8"\n': "[throttle] trusted_networks: must be a list of networks",
    NEEDED + '[throttle]\ntrusted_networks = ["10.0.0.1/8"]\n': '[throttle] trusted_networks: "10.0.0.1/8" is an '
    'address within a network; write "10.0.0.0/8"',
    NEEDED + '[throttle]\ntrusted_networks = ["office"]\n': '[throttle] trusted_networks: "office" is no network',
    NEEDED + "[throttle]\ntrusted_networks = [10]\n": "[throttle] trusted_networks: must be text in quotes",
    NEEDED + "[mailbox]\npath = 3\n": "[mailbox] path: must be text in quotes",
    NEEDED + '[mailbox]\npath = ""\n': "[mailbox] path: must be a path",
    NEEDED + '[mailbox]\nkind = "mbox"\n': '[mailbox] kind: must be "maildir"',
    NEEDED + '[submission]\nhostname = "no host"\n': "[submission] hostname: must be the name or the IP address",
    NEEDED + '[relay]\nhost = ""\n': "[relay] host: must not be empty",
    NEEDED + '[relay]\nhost = "h"\npassword_file = "env:A B"\n': "[relay] password_file: env: must be followed by ",
    NEEDED + '[relay]\nhost = "h"\nusername = "u"\n': "[relay] password_file: username and password_file need each ",
    NEEDED + '[relay]\nhost = "h"\nusername = "u"\npassword_file = "p"\ntls = "off"\n': "[relay] tls: is "
    '"off", so the password would go in clear',
    NEEDED + IMAP: '[listen] #1 tls: is "implicit", which needs a section [tls]',
    NEEDED + TLS + IMAP + IMAP: "[listen] #2 address: 127.0.0.1:1993 is taken by [listen] #1 already",
    NEEDED + TLS + IMAP + IMAP.replace("127.0.0.1", "0.0.0.0"): "[listen] #2 address: 0.0.0.0:1993 is taken",
    NEEDED + TLS + IMAP + IMAP.replace("imap", "ftp"): '[listen] #2 service: must be "imap", "pop3" or "smtp"',
    NEEDED + TLS + IMAP.replace('"implicit"', '"ssl"'): '[listen] #1 tls: must be "implicit", "starttls" or "off"',
    NEEDED + TLS + IMAP.replace("tls = ", "proxy_from = "): "[listen] #1 tls: is missing; it says: implicit: ",
    NEEDED + TLS + IMAP + 'proxy_from = ["me"]\n': '[listen] #1 proxy_from: "me" is no network in CIDR notation',
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_refused_by_file_key_and_reason(file: Path, text: str) -> None:
    told = refusal(file, text)
    assert told.startswith(REFUSED[text])
    assert "hush" not in told


@pytest.mark.parametrize(
    "address",
    [
        "1993",
        "127.0.0.1",
        ":993",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "::1:993",
        "[127.0.0.1]:993",
        "*:993",
        "300.1.1.1:993",
        "127.0.0.1:٣",
        "[::1:993",
        "a b:993",
    ],
)
def test_an_address_that_cannot_be_listened_on_is_refused(file: Path, address: str) -> None:
    assert "[listen] #1 address: " in refusal(file, NEEDED + TLS + IMAP.replace("127.0.0.1:1993", address))


@pytest.mark.parametrize("other", ["127.0.0.2:1993", "127.0.0.1:1994", "[::]:1993", "[::1]:1993", "localhost:1993"])
def test_different_addresses_are_no_clash(file: Path, other: str) -> None:
    settings = loaded(file, NEEDED + TLS + IMAP + IMAP.replace("127.0.0.1:1993", other))
    assert str(settings.listen[1].address) == other


def test_any_free_port_may_be_asked_for_twice(file: Path) -> None:
    free = IMAP.replace("1993", "0")
    assert [listener.address.port for listener in loaded(file, NEEDED + TLS + free + free).listen] == [0, 0]


def test_a_file_that_is_not_there_or_not_text_is_refused_with_what_to_do(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory; run `mailauth init`"):
        config.load(file)
    assert refusal(file, b"\xff\xfe") == "is not UTF-8 text"


def test_secrets_are_read_when_needed_from_file_or_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = NEEDED + '[relay]\nhost = "h"\nusername = "u"\npassword_file = "{}"\n'
    secret = loaded(file, text.format("secret")).relay.password_file
    with pytest.raises(ConfigError, match=r"\[relay\] password_file: cannot read .*/secret: No such file"):
        secret.read()
    (file.parent / "secret").write_bytes(b"\n")
    with pytest.raises(ConfigError, match="is empty or not there"):
        secret.read()
    (file.parent / "secret").write_bytes(b"\xff\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        secret.read()
    (file.parent / "secret").write_text(" p\u00e4ss \r\nsecond line\n", encoding="utf-8")
    assert secret.read() == " p\u00e4ss "
    assert "p\u00e4ss" not in repr(secret)
    variable = loaded(file, text.format("env:RELAY_PASSWORD")).relay.password_file
    monkeypatch.delenv("RELAY_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="env:RELAY_PASSWORD is empty or not there"):
        variable.read()
    monkeypatch.setenv("RELAY_PASSWORD", "hush")
    assert variable.read() == "hush"


def test_the_file_is_found_by_option_variable_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mailauth.config.reading.PLACES", (Path("mailauth.toml"), tmp_path / "etc.toml"))
    monkeypatch.delenv("MAILAUTH_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="run `mailauth init`, or name a file with --config or"):
        config.find(None)
    (tmp_path / "etc.toml").touch()
    assert config.find(None) == tmp_path / "etc.toml"
    (tmp_path / "mailauth.toml").touch()
    assert config.find(None) == Path("mailauth.toml")
    monkeypatch.setenv("MAILAUTH_CONFIG", "elsewhere.toml")
    assert config.find(None) == Path("elsewhere.toml")
    assert config.find("asked.toml") == Path("asked.toml")


def test_a_written_file_reads_back_and_holds_every_key_with_its_comment(file: Path) -> None:
    text = render(
        {
            "store": {"url": "sqlite:///mailauth.db"},
            "key": {"file": "keys"},
            "listen": [_listener(1), _listener(2)],
            "replies": {"help_line": 'say "hello"\\'},
        }
    )
    settings = loaded(file, text)
    assert settings.replies.help_line == 'say "hello"\\'
    assert [listener.address.port for listener in settings.listen] == [1, 2]
    for name, section in SECTIONS.items():
        assert f"[{name}]" in text
        for field in written(section):
            assert f"# {field.metadata['doc']}\n" in text
            assert f"{field.name} = " in text
    assert max(map(len, text.splitlines())) <= 120


def test_what_stands_as_comment_is_right_once_it_is_uncommented(file: Path) -> None:
    text = render({"store": {"url": "sqlite:///a"}, "key": {"file": "k"}, "listen": [_listener(1)]})
    uncommented = "\n".join([line.removeprefix("#") if line[1:2] != " " else line for line in text.splitlines()])
    parsed = tomllib.loads(uncommented)
    for name, section in SECTIONS.items():
        table = parsed[name][0] if name in REPEATED else parsed[name]
        assert set(table) == {field.name for field in written(section)}


def test_every_default_is_one_that_a_file_could_hold(file: Path) -> None:
    for section in SECTIONS.values():
        for field in written(section):
            default = field.metadata["default"]
            if default not in (None, dataclasses.MISSING):
                field.metadata["kind"].read(default, file.parent)


@pytest.mark.parametrize("end", [0, 1])
def test_every_cost_that_a_file_may_hold_can_be_hashed_with(file: Path, end: int) -> None:
    bounds = {field.name: field.metadata["kind"].told.split(" to ")[end] for field in dataclasses.fields(Hashing)}
    costs = {name: int(bounds[name]) for name in ("time_cost", "memory_kib", "parallelism")}
    settings = loaded(file, NEEDED + "[hashing]\n" + "".join(f"{name} = {cost}\n" for name, cost in costs.items()))
    hashing = settings.hashing
    Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism)  # raises ValueError otherwise


def test_settings_name_each_section() -> None:
    assert [field.name for field in dataclasses.fields(Settings)] == ["source", *SECTIONS, *KINDS]


def test_the_page_of_the_documentation_is_current() -> None:
    stored = Path(__file__).parent.parent / "docs" / "configuration.md"
    assert stored.read_text(encoding="utf-8") == page(), "run: python -m mailauth.config.writing docs/configuration.md"
