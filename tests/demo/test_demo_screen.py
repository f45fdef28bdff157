"""What the demo prints: all of it on one screen, and every command of it can be pasted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mailauth.demo.memory import Memory
from mailauth.demo.passphrase import passphrase
from mailauth.demo.screen import screen

PORTS = {
    "imap": {"implicit": 58993, "starttls": 58143},
    "pop3": {"implicit": 58995, "starttls": 58110},
    "smtp": {"implicit": 58465, "starttls": 58587},
}
ADMINISTRATOR = ("admin@example.test", passphrase(), "http://localhost:58080")
MEMORY = Memory("alice@example.test", passphrase(), "abcdefghjkmnpqrs", PORTS, "demo/ca.pem", *ADMINISTRATOR)


def shown(memory: Memory = MEMORY, folder: str = "demo", *, changed: tuple[str, ...] = ()) -> str:
    return screen(memory, Path(folder), changed=frozenset(changed))


def test_it_is_one_screen() -> None:
    text = shown()
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80


def test_it_tells_what_a_mail_program_asks_for() -> None:
    text = shown()
    passwords = ("abcd efgh jkmn pqrs", MEMORY.web_password, MEMORY.administrator_password)
    for told in ("alice@example.test", *passwords, "demo/ca.pem", "localhost", MEMORY.portal):
        assert told in text
    assert "IMAP (read)   port 58993 SSL/TLS  or  port 58143 STARTTLS" in text
    assert "SMTP (send)   port 58465 SSL/TLS  or  port 58587 STARTTLS" in text


def test_a_web_password_that_does_not_hold_is_not_shown() -> None:
    for login, web in (
        (MEMORY.account, MEMORY.web_password),
        (MEMORY.administrator, MEMORY.administrator_password),
    ):
        assert web in shown()
        assert web not in shown(changed=(login,))
        assert "changed since" in shown(changed=(login,))


def test_what_is_not_served_is_not_promised() -> None:
    text = shown(
        Memory("a@example.test", "w", "abcdefghjkmnpqrs", {"smtp": {"implicit": 465}}, "ca.pem", *ADMINISTRATOR)
    )
    assert "POP3 (read)   not served" in text
    assert "imaps://" not in text
    assert "SMTP (send)   port 465 SSL/TLS\n" in text


@pytest.mark.parametrize("folder", ["demo", "my demo; rm -rf *"])
def test_a_shell_reads_its_commands_as_they_are_meant(folder: str) -> None:
    memory = Memory("alice@example.test", "w", "abcdefghjkmnpqrs", PORTS, f"{folder}/ca.pem", *ADMINISTRATOR)
    commands = shown(memory, folder).partition("Try it in another terminal:\n")[2]
    shell = "curl() { printf '%s\\n' curl \"$@\"; }; python3() { printf '%s\\n' python3 \"$@\"; };"
    done = subprocess.run(["sh", "-c", f"{shell}\n{commands}"], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    assert words[:4] == ["curl", "--cacert", f"{folder}/ca.pem", "-u"]
    assert words[4:6] == ["alice@example.test:abcdefghjkmnpqrs", "imaps://localhost:58993/INBOX"]
    assert words[6:8] == ["python3", "-c"]
    compile(words[8], "demo", "exec")
    assert not words[9:]


def test_web_passwords_differ_and_can_be_typed() -> None:
    made = {passphrase() for _ in range(100)}
    assert len(made) == 100
    for text in made:
        assert [len(word) for word in text.split("-")] == [8, 8, 8]
        assert text.replace("-", "").isalpha()
        assert text.islower()


def test_passwords_stay_out_of_a_repr() -> None:
    assert MEMORY.app_password not in repr(MEMORY)
    assert MEMORY.web_password not in repr(MEMORY)
    assert MEMORY.administrator_password not in repr(MEMORY)
