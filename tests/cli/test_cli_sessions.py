"""`mailauth sessions`, and how commands say what came of a change."""

from __future__ import annotations

import pytest

from commandline import Cli, minted
from mailauth.cli import effects
from mailauth.interfaces import ELSEWHERE, Answer, StoreUnavailable
from mailauth.store.changes import Effect
from mailauth.store.faults import CommitUnknown


@pytest.mark.parametrize(
    "words", [["sessions"], ["sessions", "ALICE"], ["sessions", "list"], ["sessions", "list", "ALICE"]]
)
def test_where_nobody_runs_nobody_is_in(mailauth: Cli, alice: str, words: list[str]) -> None:
    words = [alice if word == "ALICE" else word for word in words]
    said = mailauth(*words)
    assert (said.code, said.out) == (0, "")
    assert said.err == "nobody is logged in\n"
    assert mailauth(*words, "--json").json == []
    assert mailauth(words[0], "--json", *words[1:]).json == []
    assert mailauth(words[0], "--json", "close", alice).json == {"sessions_ended": 0, "no_answer_from": []}


def test_sessions_of_somebody_who_is_not_there(mailauth: Cli) -> None:
    said = mailauth("sessions", "nobody@example.com")
    assert said.code == 66
    assert "nobody@example.com" in said.err
    assert mailauth("sessions", "close", "nobody@example.com").code == 66
    assert mailauth("sessions", "close", "no address").code == 65


def test_closing_where_nobody_is_in(mailauth: Cli, alice: str) -> None:
    said = mailauth("sessions", "close", alice)
    assert (said.code, said.out, said.err) == (0, f"ended 0 sessions of {alice}\n", "")
    assert mailauth("sessions", "close", alice, "--json").json == {"sessions_ended": 0, "no_answer_from": []}


@pytest.mark.parametrize("words", [["close"], ["close", "--json"], ["a@example.com", "b@example.com"], ["--nonsense"]])
def test_wrong_usage(mailauth: Cli, words: list[str]) -> None:
    assert mailauth("sessions", *words).code == 64


def test_the_help_names_both(mailauth: Cli) -> None:
    said = mailauth("sessions", "--help")
    assert said.code == 0
    assert "close" in said.out
    assert "mailauth sessions alice@example.com" in said.out


def test_revoking_says_what_it_did(mailauth: Cli, alice: str) -> None:
    minted(mailauth, alice)
    said = mailauth("app-password", "revoke", alice, "--label", "Phone")
    assert (said.code, said.err) == (0, "")
    assert said.out == "revoked app password 1: Phone\nno session was open with it\n"


# ---- in words


def test_what_was_ended_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for effect in (Effect(), Effect(number=1), Effect(number=1, ended=1), Effect(number=1, ended=2)):
        effects.say(effect)
    assert capsys.readouterr().out == "ended 1 open session\nended 2 open sessions\n"


def test_who_did_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    effect = Effect(number=1, ended=1, silent=["process 4711 at mail2", "process 4712 at mail3"])
    effects.say(effect)
    said = capsys.readouterr()
    assert said.out == "ended 1 open session\n"
    lines = said.err.splitlines()
    assert [line.partition(" did not answer")[0] for line in lines] == [
        "note: process 4711 at mail2",
        "note: process 4712 at mail3",
    ]
    assert effects.plain(effect) == {"sessions_ended": 1, "no_answer_from": effect.silent}


def test_what_became_of_sessions_that_are_not_ours_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """By each process that serves; and answers to other questions are none of it."""
    told = Answer(0, f"{ELSEWHERE}Dovecot: one\n{ELSEWHERE}Dovecot: two\n")
    effect = Effect(number=1, answers={"a": told, "b": told, "c": Answer(0, '[{"login": "x"}]')})
    effects.say(effect)
    assert capsys.readouterr().err == "note: Dovecot: one\nnote: Dovecot: two\n"
    plain = {"sessions_ended": 0, "no_answer_from": [], "elsewhere": ["Dovecot: one", "Dovecot: two"]}
    assert effects.plain(effect) == plain


def test_a_store_that_cannot_be_reached_has_changed_nothing_and_that_is_said() -> None:
    with (
        pytest.raises(StoreUnavailable, match=r"^the store is away; nothing was revoked$"),
        effects.all_or_nothing("nothing was revoked"),
    ):
        raise StoreUnavailable("the store is away")
    with pytest.raises(CommitUnknown, match=r"^nobody knows$"), effects.all_or_nothing("nothing was revoked"):
        raise CommitUnknown("nobody knows")


def test_revoking_without_a_store(mailauth: Cli, alice: str, site) -> None:  # type: ignore[no-untyped-def]
    minted(mailauth, alice)
    (site / "mailauth.db").rename(site / "away.db")
    said = mailauth("app-password", "revoke", alice, "--all")
    assert said.code == 69
    assert said.out == ""
    assert said.err.endswith("; nothing was revoked\n")
