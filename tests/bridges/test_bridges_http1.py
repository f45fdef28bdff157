"""HTTP as the bridges read it, as bytes: what two readers could take for two different requests is none."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_stage import BridgeStage
from mailauth.attempt import Attempt, Credential, Service
from mailauth.bridges.http1 import MAX_BODY_BYTES, MAX_FIELDS, MAX_HEAD_BYTES, Malformed, Reply, Request, pairs
from mailauth.bridges.http_dialogue import MAX_UNREAD_BYTES, HttpDialogue, Question
from mailauth.verdict import Accept, Cause, Defer, Reject
from stage import PRINCIPAL, bytewise, whole

CLOSE = b"Connection: close\r\n"
cuts = pytest.mark.parametrize("cut", [whole, bytewise])


def echo(request: Request) -> Reply | Question:
    """Says what came; /judge asks for a verdict first."""
    if request.path == "/judge":
        attempt = Attempt(Credential("alice@example.test", request.body.decode()), Service.IMAP, "192.0.2.1", True)
        return Question(attempt, lambda outcome: Reply(200, type(outcome).__name__.encode()))
    fields = {name.decode(): [value.decode("latin-1") for value in values] for name, values in request.fields.items()}
    told = [request.method.decode(), request.path, request.query, fields, request.body.decode("latin-1")]
    return Reply(200, json.dumps(told).encode())


def stage() -> BridgeStage:
    return BridgeStage(HttpDialogue(echo), None)


def answers(heard: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, head and body of each answer, read by their lengths."""
    found = []
    while heard:
        head, _, heard = heard.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) if status != 100 else 0
        found.append((status, head, heard[:length]))
        heard = heard[length:]
    return found


def request(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", b""]) + body


GET = b"GET /x HTTP/1.1"
POST = b"POST /x?a=b HTTP/1.1"
HOST = b"Host: here"

GOOD = {
    request(GET, HOST): ["GET", "/x", "", {"host": ["here"]}, ""],
    request(b"GET /x HTTP/1.0"): ["GET", "/x", "", {}, ""],
    request(POST, HOST, b"Content-Length: 3", body=b"abc"): [
        *("POST", "/x", "a=b"),
        {"host": ["here"], "content-length": ["3"]},
        "abc",
    ],
    request(GET, HOST, b"X:", b"Y: \t a b \t"): ["GET", "/x", "", {"host": ["here"], "x": [""], "y": ["a b"]}, ""],
    request(GET, HOST, b"X: 1", b"x: 2"): ["GET", "/x", "", {"host": ["here"], "x": ["1", "2"]}, ""],
    request(GET, HOST, "X: 密码 caf".encode() + b"\xe9\xff"): [
        *("GET", "/x", ""),
        {"host": ["here"], "x": ["密码 caf".encode().decode("latin-1") + "\xe9\xff"]},
        "",
    ],
}


@cuts
@pytest.mark.parametrize("said", GOOD)
def test_a_request_is_read_however_it_is_cut(said: bytes, cut) -> None:
    played = stage()
    ((status, _, body),) = answers(played.say(said, cut))
    assert (status, json.loads(body)) == (200, GOOD[said])


BAD = {
    "no request line": b"hello\r\n\r\n",
    "two spaces": request(b"GET  /x HTTP/1.1", HOST),
    "trailing space": request(b"GET /x HTTP/1.1 ", HOST),
    "a whole URL": request(b"GET http://here/x HTTP/1.1", HOST),
    "a control in the target": request(b"GET /x\x01 HTTP/1.1", HOST),
    "not ASCII in the target": request(b"GET /\xe9 HTTP/1.1", HOST),
    "HTTP/0.9": request(b"GET /x", HOST),
    "HTTP/1.2": request(b"GET /x HTTP/1.2", HOST),
    "lower case version": request(b"GET /x http/1.1", HOST),
    "no Host": request(GET),
    "two Hosts": request(GET, HOST, HOST),
    "two Hosts of 1.0": request(b"GET /x HTTP/1.0", HOST, HOST),
    "chunked": request(POST, HOST, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked and a length": request(POST, HOST, b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"abc"),
    "identity": request(POST, HOST, b"transfer-encoding: identity"),
    "two lengths": request(POST, HOST, b"Content-Length: 3", b"Content-Length: 5", body=b"abcde"),
    "a length twice": request(POST, HOST, b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "a list of lengths": request(POST, HOST, b"Content-Length: 3, 3", body=b"abc"),
    "a negative length": request(POST, HOST, b"Content-Length: -1"),
    "a signed length": request(POST, HOST, b"Content-Length: +3", body=b"abc"),
    "a hex length": request(POST, HOST, b"Content-Length: 0x3", body=b"abc"),
    "no length": request(POST, HOST, b"Content-Length:", body=b"abc"),
    "digits that are not ASCII": request(POST, HOST, b"Content-Length: \xb2", body=b"abc"),
    "space before a colon": request(POST, HOST, b"Content-Length : 3", body=b"abc"),
    "a folded line": request(GET, HOST, b"X: 1", b" 2"),
    "a fold at first": request(GET, b" X: 1", HOST),
    "no colon": request(GET, HOST, b"X"),
    "no name": request(GET, HOST, b": x"),
    "a strange name": request(GET, HOST, b"X(y): x"),
    "NUL in a value": request(GET, HOST, b"X: a\0b"),
    "a control in a value": request(GET, HOST, b"X: a\x1bb"),
    "DEL in a value": request(GET, HOST, b"X: a\x7fb"),
    "a bare CR in a value": request(GET, HOST, b"X: a\rY: b"),
    "a bare LF between fields": GET + b"\r\nHost: here\nX: 1\r\n\r\n",
    "a bare LF behind the request line": GET + b"\nHost: here\r\n\r\n",
    "two expectations": request(POST, HOST, b"Expect: 100-continue", b"Expect: x"),
    "an empty line before": b"\r\n" + request(GET, HOST),
    "two empty lines before": b"\r\n\r\n" + request(GET, HOST),
}


@cuts
@pytest.mark.parametrize("name", BAD)
def test_what_could_be_read_in_two_ways_ends_the_connection(name: str, cut) -> None:
    played = stage()
    ((status, head, _),) = answers(played.say(BAD[name] + request(GET, HOST), cut))
    assert status in {400, 501}
    assert CLOSE.strip() in head.split(b"\r\n")
    assert played.is_closed
    assert played.warnings


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (request(POST, HOST, b"Content-Length: %d" % (MAX_BODY_BYTES + 1)), 413),
        (request(POST, HOST, b"Content-Length: 999999999"), 413),
        (request(POST, HOST, b"Content-Length: 9999999999999999999999"), 400),
        (request(GET, HOST, *[b"X: 1"] * MAX_FIELDS), 431),
        (request(GET, HOST, b"X: " + b"x" * MAX_HEAD_BYTES), 431),
        (GET + b"x" * MAX_HEAD_BYTES + b"x", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_what_is_too_much_is_told_so(said: bytes, status: int) -> None:
    played = stage()
    assert [answer[0] for answer in answers(played.say(said))] == [status]
    assert played.is_closed


@cuts
def test_a_body_and_a_head_may_be_as_long_as_that(cut) -> None:
    body = b"x" * 5000
    played = stage()
    said = request(POST, HOST, b"X: " + b"y" * 5000, b"Content-Length: %d" % len(body), body=body)
    ((status, _, told),) = answers(played.say(said, cut))
    assert status == 200
    assert json.loads(told)[4] == body.decode()


@cuts
@pytest.mark.parametrize(
    ("first", "stays"),
    [
        ([GET, HOST], True),
        ([GET, HOST, b"Connection: keep-alive"], True),
        ([GET, HOST, b"Connection: close"], False),
        ([GET, HOST, b"Connection: x, Close"], False),
        ([b"GET /x HTTP/1.0"], False),
        ([b"GET /x HTTP/1.0", b"Connection: Keep-Alive"], True),
        ([b"GET /x HTTP/1.0", b"Connection: keep-alive, close"], False),
    ],
)
def test_a_connection_stays_when_both_say_so(first: list[bytes], stays: bool, cut) -> None:
    played = stage()
    heard = answers(played.say(request(*first) + request(GET, HOST), cut))
    assert len(heard) == 1 + stays
    assert (b"Connection: keep-alive" in heard[0][1].split(b"\r\n")) is stays
    assert played.is_closed is not stays


@cuts
def test_answers_leave_in_the_order_of_the_requests(cut) -> None:
    """The second is not looked at before the first is answered, however long that takes."""
    judged = request(b"POST /judge HTTP/1.1", HOST, b"Content-Length: 3", body=b"one")
    played = stage()
    assert played.say(judged + request(GET, HOST) + judged.replace(b"one", b"two"), cut) == b""
    assert [attempt.credential.password for attempt in played.attempts] == ["one"]
    first, second = answers(played.answer(Accept(PRINCIPAL)))
    assert (first[2], json.loads(second[2])[0]) == (b"Accept", "GET")
    assert [attempt.credential.password for attempt in played.attempts] == ["one", "two"]
    assert answers(played.answer(Defer(Cause.STORE)))[0][2] == b"Defer"
    assert not played.is_closed


def test_the_end_of_the_stream_waits_for_the_verdict() -> None:
    played = stage()
    played.say(request(b"POST /judge HTTP/1.1", HOST))
    assert played.eof() == b""
    assert not played.is_closed
    ((status, head, _),) = answers(played.answer(Accept(PRINCIPAL)))
    assert status == 200
    assert CLOSE.strip() in head.split(b"\r\n")
    assert played.is_closed


@pytest.mark.parametrize("said", [b"", b"GET /x", request(POST, HOST, b"Content-Length: 3", body=b"ab")])
def test_an_end_in_the_middle_is_the_end(said: bytes) -> None:
    played = stage()
    played.say(said)
    assert played.eof() == b""
    assert played.is_closed


def test_who_does_not_wait_for_answers_is_left_in_time() -> None:
    played = stage()
    played.say(request(b"POST /judge HTTP/1.1", HOST))
    played.say(b"x" * MAX_UNREAD_BYTES)
    assert not played.is_closed
    played.say(b"x")
    assert played.is_closed
    assert played.warnings == ["sends requests without waiting for answers"]
    assert played.dialogue.judged(1, Accept(PRINCIPAL)) == []


@cuts
def test_a_client_that_waits_before_its_body_is_told_to_go_on(cut) -> None:
    played = stage()
    head = request(POST, HOST, b"Expect: 100-Continue", b"Content-Length: 3")
    assert played.say(head, cut) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answers(played.say(b"abc", cut))[0][0] == 200
    assert [status for status, _, _ in answers(stage().say(head + b"abc"))] == [200]  # it did not wait
    assert answers(stage().say(head.replace(b"1.1", b"1.0") + b"abc"))[0][0] == 200


FORMS = {
    b"": {},
    b"a=1&b=": {"a": "1", "b": ""},
    b"a": {"a": ""},
    b"a=x+y%20z%2B": {"a": "x y z+"},
    b"a=%26%3d%25&b=c=d": {"a": "&=%", "b": "c=d"},
    b"a=%E5%AF%86%ff": {"a": "密\udcff"},
    b"a=\xe5\xaf\x86": {"a": "密"},
    b"a=%zz%4": {"a": "%zz%4"},
    b"a=%00%0d%0a": {"a": "\0\r\n"},
}


@pytest.mark.parametrize("text", FORMS)
def test_a_form_is_decoded_as_it_was_written(text: bytes) -> None:
    assert pairs(text) == FORMS[text]


@pytest.mark.parametrize("text", [b"a=1&a=1", b"a=1&%61=2", b"&".join(b"%d=" % number for number in range(101)), b"&&"])
def test_a_form_that_says_a_thing_twice_is_none(text: bytes) -> None:
    with pytest.raises(Malformed):
        pairs(text)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"a"', b"{", b'{"a": 1, "a": 2}', b'{"b": {"a": 1, "a": 2}}', b"[" * 60_000, b"\xff"]
)
def test_json_that_is_no_object_or_says_a_thing_twice_is_none(body: bytes) -> None:
    with pytest.raises(Malformed):
        Request(b"POST", "/", body=body).json()


def test_a_head_of_blanks_takes_no_time() -> None:
    """No pattern of ours may go back and forth over what somebody sends."""
    hostile = [b" ", b"\t", b"a ", b":", b": "]
    began = time.process_time()
    for text in hostile:
        filling = text * (60_000 // len(text))
        stage().say(request(GET, HOST, b"X:" + filling + b"\x01"))
        stage().say(request(GET, HOST, filling))
        stage().say(request(filling, HOST))
    assert time.process_time() - began < 5


def test_bytes_one_by_one_take_no_time() -> None:
    began = time.process_time()
    stage().say(request(GET, HOST, b"X: " + b"\r" * 60_000), bytewise)
    assert time.process_time() - began < 10


PIECES = st.sampled_from(
    [b"GET ", b"/judge", b" HTTP/1.1\r\n", b"Host: x\r\n", b"Content-Length: ", b"3", b"\r\n", b"\r\n\r\n", b"\n", b" "]
)


@given(
    said=st.lists(PIECES | st.binary(max_size=20), max_size=30), outcome=st.sampled_from(["accept", "reject", "end"])
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_break_it(said: list[bytes], outcome: str) -> None:
    """And cut differently, they mean the same."""
    heard = []
    for cut in (whole, bytewise):
        played = stage()
        played.say(b"".join(said), cut)
        while played.pending and not played.is_closed:
            if outcome == "end":
                played.eof()
            played.answer(Reject("wrong-password") if outcome == "reject" else Accept(PRINCIPAL))
        played.eof()
        assert played.is_closed
        heard.append(played.heard.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    assert heard[0] == heard[1]
