"""Any bytes, cut anywhere, to any Dialogue: only what is documented comes out."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailauth.attempt import Attempt
from mailauth.dialogue import Dialogue, Ending
from mailauth.imap.command import MAX_COMMAND_BYTES, MAX_LINE_BYTES
from mailauth.imap.protocol import ImapDialogue
from mailauth.pop3.protocol import Pop3Dialogue
from mailauth.verdict import Accept, Cause, Defer, Outcome
from servers import imap, pop3
from stage import PRINCIPAL, REFUSED, Stage, bytewise, whole

EXAMPLES = settings(max_examples=150, deadline=None)

OUTCOMES = st.lists(
    st.sampled_from([Accept(PRINCIPAL), REFUSED, Defer(Cause.STORE), Defer(Cause.THROTTLED)]), min_size=1, max_size=4
)

IMAP_SAYS = re.compile(
    rb"""\* \ OK \ \[CAPABILITY \ [A-Za-z0-9=+ -]+\] \ IMAP \ ready\.
       | \* \ CAPABILITY \ [A-Za-z0-9=+ -]+
       | \* \ ID \ \("name" \ "mailauth"\)
       | \* \ BYE \ Too \ many \ (bad \ commands|commands|failed \ logins)\.
       | \* \ BYE \ (Logging \ out|Line \ too \ long|Literal \ too \ big
                    |Disconnected \ for \ inactivity|The \ password \ of \ this \ session \ was \ revoked)\.
       | \* \ BYE \ \[UNAVAILABLE\] \ [A-Z][a-z ]+, \ try \ again \ later\.
       | \* \ BAD \ (Unreadable \ tag|\[TOOBIG\] \ Literal \ too \ big)\.
       | \* \ NO \ \[PRIVACYREQUIRED\] \ Start \ TLS \ first: \ no \ password \ is \ accepted \ in \ clear\.
       | \+ \ (Ready|VXNlcm5hbWU6|UGFzc3dvcmQ6|)
       | (?P<tag>[^ ]{1,64}) \ (
            OK \ ((CAPABILITY|NOOP|ID|LOGOUT) \ completed|Begin \ TLS \ negotiation \ now)\.
          | OK \ \[CAPABILITY \ IMAP4rev1 \ ID \ LITERAL\+\] \ Logged \ in\.
          | NO \ (Unsupported \ authentication \ mechanism
                 |\[PRIVACYREQUIRED\] \ Start \ TLS \ first: \ no \ password \ is \ accepted \ in \ clear
                 |\[AUTHENTICATIONFAILED\] \ Authentication \ failed
                 |\[UNAVAILABLE\] \ Temporary \ authentication \ failure, \ try \ again \ later)\.
          | BAD \ (\[TOOBIG\] \ )?[A-Z][A-Za-z0-9 ,-]+\.)""",
    re.VERBOSE,
)
POP3_SAYS = re.compile(
    rb"""\+OK( \ (POP3 \ ready|Capabilities \ follow|Send \ PASS|Logged \ in|Bye|Begin \ TLS \ negotiation \ now)\.)?
       | TOP|UIDL|RESP-CODES|AUTH-RESP-CODE|PIPELINING|USER|SASL \ PLAIN \ LOGIN|STLS|PLAIN|LOGIN|\.
       | \+ \ (VXNlcm5hbWU6|UGFzc3dvcmQ6|)
       | -ERR \ \[AUTH\] \ Authentication \ failed\.
       | -ERR \ \[SYS/TEMP\] \ [A-Z][A-Za-z ]+, \ try \ again \ later\.
       | -ERR \ Start \ TLS \ first \ \(STLS\): \ no \ password \ is \ accepted \ in \ clear\.
       | -ERR \ [A-Z][A-Za-z0-9 ,-]+\.""",
    re.VERBOSE,
)


def b64(message: bytes) -> bytes:
    return base64.b64encode(message)


PLAIN = b64(b"\0alice@example.test\0secret")
IMAP_SESSION = [
    b"a CAPABILITY\r\n",
    b"b NOOP\r\n",
    b"c STARTTLS\r\n",
    b'd ID ("name" {3+}\r\nfoo "version" "1")\r\n',
    b"e LOGIN alice@example.test secret\r\n",
    b'f LOGIN "alice@example.test" "se\\"cret"\r\n',
    b"g LOGIN {18+}\r\nalice@example.test {6}\r\nsecret\r\n",
    b"h AUTHENTICATE PLAIN " + PLAIN + b"\r\n",
    b"i AUTHENTICATE PLAIN\r\n" + PLAIN + b"\r\n",
    b"j AUTHENTICATE LOGIN\r\n" + b64(b"alice") + b"\r\n" + b64(b"secret") + b"\r\n",
    b"k AUTHENTICATE PLAIN\r\n*\r\n",
    b"l SELECT INBOX\r\n",
    b"m APPEND INBOX {10+}\r\nFrom: a\r\n\r\n\r\n",
    b"n LOGOUT\r\n",
    b"\r\n",
    b"o LOGIN x {4097+}\r\n",
    b"GET / HTTP/1.1\r\n",
    b"p LOGIN " + b"x" * (MAX_LINE_BYTES - 20) + b" y\r\n",
    b"q LOGIN" + b" {1+}\r\nx" * 2100 + b"\r\n",
    b"(" * 3000 + b"\r\n",
]
POP3_SESSION = [
    b"CAPA\r\n",
    b"NOOP\r\n",
    b"STLS\r\n",
    b"USER alice@example.test\r\n",
    b"PASS secret\r\n",
    b"PASS  with spaces \r\n",
    b"AUTH\r\n",
    b"AUTH PLAIN " + PLAIN + b"\r\n",
    b"AUTH PLAIN\r\n" + PLAIN + b"\r\n",
    b"AUTH LOGIN\r\n" + b64(b"alice") + b"\r\n" + b64(b"secret") + b"\r\n",
    b"AUTH PLAIN\r\n*\r\n",
    b"AUTH PLAIN =\r\n",
    b"STAT\r\n",
    b"QUIT\r\n",
    b"\r\n",
    b"GET / HTTP/1.1\r\n",
    b"PASS " + b"x" * (MAX_LINE_BYTES - 7) + b"\r\n",
]


@st.composite
def mutated(draw: st.DrawFn, session: Sequence[bytes]) -> bytes:
    """Commands of a session in any order, and then a few bytes deleted, doubled or changed."""
    said = bytearray(b"".join(draw(st.lists(st.sampled_from(session), max_size=12))))
    for _ in range(draw(st.integers(0, 4))):
        if not said:
            break
        at = draw(st.integers(0, len(said) - 1))
        length = draw(st.integers(1, 8))
        said[at : at + length] = draw(
            st.one_of(st.just(b""), st.just(bytes(said[at : at + length]) * 2), st.binary(max_size=length))
        )
    return bytes(said)


def anything(session: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=600), mutated(session))


class Verdicts:
    """Answers attempts from a list, over and over."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.given: list[Outcome] = []
        self._next = itertools.cycle(outcomes)

    def __call__(self, attempt: Attempt) -> Outcome:
        assert attempt.credential.authcid
        assert attempt.credential.password
        assert "\0" not in attempt.credential.authcid + attempt.credential.password
        self.given.append(next(self._next))
        return self.given[-1]

    @property
    def accepted(self) -> int:
        return sum(isinstance(outcome, Accept) for outcome in self.given)


DOORS = [
    pytest.param(imap, IMAP_SESSION, IMAP_SAYS, b"Logged in.\r\n", id="imap"),
    pytest.param(pop3, POP3_SESSION, POP3_SAYS, b"+OK Logged in.\r\n", id="pop3"),
]
Door = Callable[..., Callable[[], Dialogue]]


def buffered_bytes(dialogue: Dialogue) -> int:
    """How much of the client's a Dialogue keeps."""
    if isinstance(dialogue, ImapDialogue):
        commands = dialogue._input
        return len(commands._lines._buffer) + len(commands._begun)
    assert isinstance(dialogue, Pop3Dialogue)
    return len(dialogue._lines._buffer) + len(dialogue._user or b"")


@pytest.mark.parametrize(("door", "session", "says", "welcome"), DOORS)
@pytest.mark.parametrize("tls", [True, False])
@given(data=st.data())
@EXAMPLES
def test_only_what_is_documented_comes_out(
    door: Door, session: Sequence[bytes], says: re.Pattern[bytes], welcome: bytes, tls: bool, data: st.DataObject
) -> None:
    said = data.draw(anything(session))
    verdicts = Verdicts(data.draw(OUTCOMES))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=6)))
    stage = Stage(door()(), verdicts, tls=tls)
    for begin, end in itertools.pairwise([0, *cuts, len(said)]):
        stage.say(said[begin:end])
        assert buffered_bytes(stage.dialogue) <= MAX_COMMAND_BYTES + MAX_LINE_BYTES + (end - begin)
    for line in stage.heard[:-2].split(b"\r\n"):
        found = says.fullmatch(line)
        assert found is not None, line
        tag = found.groupdict().get("tag")
        assert tag is None or tag in said
    assert stage.heard.count(welcome) == verdicts.accepted <= 1
    assert (stage.entered is None) or verdicts.accepted == 1
    assert len(stage.attempts) == len(verdicts.given)
    assert tls or stage.handshakes or not stage.attempts
    if stage.entered is not None:
        assert said.endswith(stage.entered.leftover)
    else:
        stage.eof()
        assert stage.is_closed


@pytest.mark.parametrize(("door", "session", "says", "welcome"), DOORS)
@pytest.mark.parametrize("tls", [True, False])
@given(data=st.data())
@EXAMPLES
def test_it_does_not_matter_how_the_bytes_are_cut(
    door: Door, session: Sequence[bytes], says: re.Pattern[bytes], welcome: bytes, tls: bool, data: st.DataObject
) -> None:
    said = data.draw(anything(session))
    outcomes = data.draw(OUTCOMES)
    width = data.draw(st.integers(2, 40))

    def pieces(data: bytes) -> Iterable[bytes]:
        return (data[at : at + width] for at in range(0, len(data), width))

    stages = [Stage(door()(), Verdicts(outcomes), tls=tls) for _ in range(3)]
    for stage, cut in zip(stages, (whole, bytewise, pieces), strict=True):
        stage.say(said, cut)
    first = stages[0]
    for other in stages[1:]:
        assert other.heard == first.heard
        assert other.attempts == first.attempts
        assert other.entered == first.entered
        assert (other.is_closed, other.handshakes) == (first.is_closed, first.handshakes)


@pytest.mark.parametrize(("door", "session", "says", "welcome"), DOORS)
@given(data=st.data(), cause=st.sampled_from(Ending))
@EXAMPLES
def test_it_can_be_ended_at_any_point(
    door: Door,
    session: Sequence[bytes],
    says: re.Pattern[bytes],
    welcome: bytes,
    data: st.DataObject,
    cause: Ending,
) -> None:
    stage = Stage(door()(), Verdicts(data.draw(OUTCOMES)))
    stage.say(data.draw(anything(session)))
    if stage.entered is None:
        was_closed = stage.is_closed
        heard = stage.end(cause)
        assert stage.is_closed
        assert heard.count(b"\r\n") == (0 if was_closed else 1)
        kept = buffered_bytes(stage.dialogue)
        assert stage.dialogue.received(b"a NOOP\r\n") == []
        assert buffered_bytes(stage.dialogue) == kept
        assert stage.dialogue.judged(1, Accept(PRINCIPAL)) == []


@pytest.mark.parametrize("door", [imap, pop3])
@given(data=st.binary(min_size=1, max_size=64), times=st.integers(1, 2000))
@EXAMPLES
def test_what_is_kept_is_bounded_however_long_it_goes_on(door: Door, data: bytes, times: int) -> None:
    stage = Stage(door()(), lambda attempt: Defer(Cause.STORE))
    for _ in range(times):
        stage.say(data)
        if stage.is_closed:
            break
        assert buffered_bytes(stage.dialogue) <= MAX_COMMAND_BYTES + MAX_LINE_BYTES + len(data)
