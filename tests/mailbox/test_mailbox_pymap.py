"""What we rely on in pymap beyond its documentation, and what we mend: each test names one thing that may change."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import subprocess
import sys
from pathlib import Path

import pymap.parsing.command.auth
import pymap.parsing.specials.mailbox
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymap.flags import PermanentFlags, SessionFlags
from pymap.imap.state import ConnectionState
from pymap.interfaces.session import SessionInterface
from pymap.parsing import Params
from pymap.parsing.command import Command
from pymap.parsing.commands import Commands, InvalidCommand
from pymap.parsing.specials import FetchAttribute, Flag, ObjectId, SequenceSet
from pymap.selected import SelectedMailbox, SynchronizedMessages

from mailauth.mailbox import imap_mends, imap_session, mutf7
from mailauth.mailbox.imap_fetch import ITEMS
from mailauth.mailbox.imap_mail import Mail
from mailauth.mailbox.imap_state import Config, State
from mailauth.mailbox.maildir import IMAP_CAPABILITIES


def test_the_version_is_the_one_this_was_written_for():
    assert importlib.metadata.version("pymap").startswith("0.36.")


def test_the_state_still_keeps_its_session_and_its_capabilities_where_we_put_them():
    source = inspect.getsource(ConnectionState)
    for name in ("self._session", "self._capability", "self._selected"):
        assert name in source
    assert list(inspect.signature(ConnectionState.__init__).parameters) == ["self", "login", "config"]


def test_every_method_of_a_session_is_ours():
    wanted = {name for name in vars(SessionInterface) if not name.startswith("_")}
    assert wanted <= set(vars(Mail))
    for name in wanted:
        theirs, ours = getattr(SessionInterface, name), getattr(Mail, name)
        if callable(theirs):
            assert list(inspect.signature(theirs).parameters) == list(inspect.signature(ours).parameters), name


def test_every_command_has_its_method():
    config = Config(1000)
    for known in config.commands.commands.values():
        command = known
        while command.delegate:
            command = command.delegate
        if not command.compound:
            assert hasattr(State, "do_" + command.command.decode().lower()), command


def test_our_capabilities_are_pymaps_and_our_own():
    config = Config(1000)
    theirs = {b"IMAP4rev1", *config.initial_capability, *config.login_capability}
    ours = {*IMAP_CAPABILITIES, b"APPENDLIMIT=1000"}
    assert theirs - ours == {b"BINARY", b"STARTTLS"}
    assert ours - theirs == {b"ENABLE", b"NAMESPACE", b"UNSELECT"}


def test_silenced_flags_are_still_a_set_of_flag_keys():
    selected = _selected()
    selected._silenced_flags.update([(1, frozenset({Flag(b"\\Seen")}))])
    assert "_silenced_flags" in inspect.getsource(SelectedMailbox._compare)


def _selected():
    return SelectedMailbox(ObjectId(b"F1"), False, PermanentFlags([]), SessionFlags([]))


def test_numbers_of_a_set_are_still_asked_for_by_in_and_by_and():
    source = inspect.getsource(SynchronizedMessages)
    assert source.count("flatten(") == 4
    assert source.count("flatten(self.max_uid) & self._uids") == 2


def test_sets_of_numbers_are_mended_and_still_need_it():
    assert SequenceSet.flatten is imap_mends.flatten
    assert "return frozenset(self.iter(max_value))" in inspect.getsource(SequenceSet)  # of the file, not of the mend


@pytest.mark.slow
def test_folder_names_still_need_their_mend():
    code = "from pymap.parsing.modutf7 import modutf7_decode; modutf7_decode(b'&x')"
    with pytest.raises(subprocess.TimeoutExpired):  # it never returns
        subprocess.run([sys.executable, "-c", code], timeout=3, check=True)


def test_folder_names_are_mended_wherever_pymap_reads_them():
    for module in (pymap.parsing.specials.mailbox, pymap.parsing.command.auth):
        assert module.modutf7_decode is mutf7.decode
    readers = [
        path for path in Path(pymap.parsing.__file__).parent.rglob("*.py") if "modutf7_decode(" in path.read_text()
    ]
    assert sorted(path.name for path in readers) == ["auth.py", "mailbox.py", "modutf7.py"]


NUMBERS = st.integers(1, 40)
ELEMENTS = st.one_of(
    NUMBERS.map(str), st.just("*"), st.builds("{}:{}".format, NUMBERS | st.just("*"), NUMBERS | st.just("*"))
)


@given(st.lists(ELEMENTS, min_size=1), st.integers(1, 30))
def test_a_mended_set_holds_the_numbers_that_the_rfc_says(elements, highest):
    sequences, _ = SequenceSet.parse(memoryview(",".join(elements).encode()), Params())
    held = imap_mends.flatten(sequences, highest)
    expected = set()
    for element in elements:
        ends = [highest if end == "*" else int(end) for end in element.split(":")]
        expected |= set(range(min(ends), max(ends) + 1)) & set(range(1, highest + 1))
    assert {number for number in range(50) if number in held} == expected
    assert held & set(range(50)) == expected
    assert "1" not in held


def test_pymap_does_not_write_down_what_clients_say():
    assert logging.getLogger("pymap").getEffectiveLevel() >= logging.WARNING
    assert not logging.getLogger("pymap.imap").isEnabledFor(logging.INFO)


def test_a_parser_that_trips_still_has_commands_to_say_so_with():
    command, _ = Commands().parse(memoryview(b"a XYZZY\r\n"), Params())
    assert isinstance(command, InvalidCommand)
    assert issubclass(imap_session.Unreadable, Command)
    assert imap_session.Unreadable(Params(tag=b"a"), None).message == b"Not understood."


def test_every_item_of_the_rfc_is_fetched():
    for (
        item
    ) in b"ENVELOPE FLAGS INTERNALDATE RFC822 RFC822.HEADER RFC822.SIZE RFC822.TEXT BODY BODYSTRUCTURE UID".split():
        attribute, rest = FetchAttribute.parse(memoryview(item), Params())
        assert attribute.value in ITEMS
        assert not rest
