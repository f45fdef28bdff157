"""Plays a transcript (tests/transcripts/README.md) to a Dialogue in memory, or over a socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mailauth.attempt import Attempt
from mailauth.dialogue import Dialogue, Ending
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal
from servers import imap, listening, pop3
from stage import PRINCIPAL, REFUSED, Stage
from wire import DEADLINE_S, Wire

FOLDER = Path(__file__).parent / "transcripts"
PASSWORDS = ("abcdefghjkmnpqrs", 'pä"ss\\ wörd!')
DOORS: dict[str, Callable[[], Dialogue]] = {"imap": imap(), "pop3": pop3()}
VERDICTS = {"refused": REFUSED, "deferred": Defer(Cause.STORE)}

Step = tuple[Literal["say"], bytes] | tuple[Literal["hear", "do"], str]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One session. tls: implicit or starttls."""

    door: str
    tls: str
    steps: tuple[Step, ...]


def transcripts() -> list[str]:
    """The names of all that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(name: str) -> Transcript:
    """One transcript. Raises ValueError at a line that is none."""
    lines = [line for line in (FOLDER / f"{name}.txt").read_text("utf-8").splitlines() if line[:1] != "#"]
    arrow, door, tls = lines[0].split(" ")
    if arrow != "=>" or door not in DOORS or tls not in {"implicit", "starttls"}:
        raise ValueError(f"{name}: {lines[0]}")
    return Transcript(door, tls, tuple(_steps(lines[1:])))


def _steps(lines: Iterable[str]) -> Iterator[Step]:
    said = b""
    for line in lines:
        mark, text = line[:3], line[3:]
        if mark == "C: ":
            said += text.encode() + b"\r\n"
            continue
        if said:
            yield "say", said
            said = b""
        if mark == "S: ":
            yield "hear", text
        elif mark == "=> " and text in {"TLS", "mailbox", "closed", *VERDICTS}:
            yield "do", text
        else:
            raise ValueError(line)
    if said:
        yield "say", said


class Judge:
    """Lets Alice in, unless the transcript has said otherwise about the next attempt."""

    def __init__(self) -> None:
        self.next: Outcome | None = None

    def __call__(self, attempt: Attempt) -> Outcome:
        said, self.next = self.next, None
        if said is not None:
            return said
        shown = attempt.credential
        knows = shown.authcid == PRINCIPAL.login and shown.password in PASSWORDS
        return Accept(PRINCIPAL) if knows and shown.authzid in {"", shown.authcid} else REFUSED

    async def authenticate(self, attempt: Attempt) -> Outcome:
        return self(attempt)


def is_said(expected: str, line: bytes) -> bool:
    """Whether this line of the server is the expected one; `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, line.decode()) is not None


def play(transcript: Transcript, cut: Callable[[bytes], Iterable[bytes]]) -> None:
    """In memory."""
    judge = Judge()
    stage = Stage(DOORS[transcript.door](), judge, tls=transcript.tls == "implicit")
    heard, in_mailbox, is_in = stage.news(), b"", False
    for kind, what in transcript.steps:
        if kind == "say":
            heard += stage.say(what, cut)
            in_mailbox += what * is_in
        elif kind == "hear":
            line, end, heard = heard.partition(b"\r\n")
            assert end, f"expected {what!r}, heard nothing"
            assert is_said(what, line), (what, line)
        elif what in VERDICTS:
            judge.next = VERDICTS[what]
        else:
            is_in = is_in or what == "mailbox"
            assert not heard, heard
            assert what != "TLS" or stage.handshakes == 1
            assert what != "closed" or stage.is_closed
    assert heard == b""
    assert (stage.entered.leftover if stage.entered else b"") == in_mailbox


async def play_on_socket(transcript: Transcript, dribbled: bool) -> None:
    """Over TCP and TLS."""
    judge = Judge()
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def mailbox(
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        *,
        named: Callable[[str], None],
    ) -> None:
        received.set_result(await reader.read(-1))

    in_mailbox, is_in = b"", False
    async with listening(DOORS[transcript.door], judge, tls=transcript.tls, mailbox=mailbox) as running:
        wire = await Wire.to(running.port, tls=transcript.tls == "implicit")
        for kind, what in transcript.steps:
            if kind == "say":
                await (wire.dribble if dribbled else wire.send)(what)
                in_mailbox += what * is_in
            elif kind == "hear":
                line = await wire.line()
                assert is_said(what, line.removesuffix(b"\r\n")), (what, line)
            elif what in VERDICTS:
                judge.next = VERDICTS[what]
            elif what == "TLS":
                await wire.start_tls()
            elif what == "closed":
                assert await wire.rest() == b""
            else:
                is_in = True
        if is_in:
            await wire.end()
            async with asyncio.timeout(DEADLINE_S):
                assert await received == in_mailbox
        wire.close()
