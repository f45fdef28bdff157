import os
from pathlib import Path

import pytest

from mailauth.mailbox import records, uidlist
from mailauth.mailbox.records import Records

DOVECOT = b"""3 V1255727990 N25022 G3085f01b7f11094c501100008c4a11c1
25006 :1255757990.M33P36.timo.xyz,S=5052,W=5200:2,
25017 W2481 P25 :1275528487.M364837P9451.timo,S=1355,W=1394:2,S
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / uidlist.FILE_NAME)


def test_a_list_of_dovecots_is_understood_and_kept(path):
    Path(path).write_bytes(DOVECOT)
    listed = uidlist.read(path)
    assert (listed.validity, listed.next_uid, listed.folder_id) == (
        1255727990,
        25022,
        "3085f01b7f11094c501100008c4a11c1",
    )
    assert listed.uids == {
        "1255757990.M33P36.timo.xyz,S=5052,W=5200": 25006,
        "1275528487.M364837P9451.timo,S=1355,W=1394": 25017,
    }
    uidlist.append(path, ["new"], listed)
    uidlist.rewrite(path, listed)
    assert Path(path).read_bytes() == (
        b"3 V1255727990 N25023 G3085f01b7f11094c501100008c4a11c1\n"
        b"25006 :1255757990.M33P36.timo.xyz,S=5052,W=5200\n"
        b"25017 W2481 P25 :1275528487.M364837P9451.timo,S=1355,W=1394\n"
        b"25022 :new\n"
    )


def test_appended_lines_count_beyond_the_header(path):
    listed = uidlist.fresh()
    uidlist.rewrite(path, listed)
    uidlist.append(path, ["a", "b\udcff"], listed)
    uidlist.append(path, ["c"], listed)
    assert listed.uids == {"a": 1, "b\udcff": 2, "c": 3}
    assert uidlist.read(path) == listed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"1 123 5\n",
        b"3 V0 N1\n",
        b"3 V4294967296 N1\n",
        b"3 V1\n",
        b"3 Vx N1\n",
        b"3 V1 N1\n2 :b\n1 :a\n",
        b"3 V1 N1\n0 :a\n",
        b"3 V1 N1\n1 a\n2 :b\n",
        b"3 V1 N1\n\0\0\0\0\n",
        b"3 V1 N1\n" + b"9" * 5000 + b" :a\n",
    ],
)
def test_what_makes_no_sense_is_not_guessed(path, content):
    Path(path).write_bytes(content)
    assert uidlist.read(path) is None


def test_a_line_cut_short_costs_that_line_only(path):
    Path(path).write_bytes(b"3 V7 N1\n1 :a\n2 :b")
    listed = uidlist.read(path)
    assert listed.uids == {"a": 1}
    assert listed.torn


def test_each_new_folder_has_its_own_uid_validity():
    given = [uidlist.new_validity() for _ in range(5)]
    assert given == sorted(set(given))


def test_a_failed_replacement_leaves_the_file_as_it_was(path, tmp_path, monkeypatch):
    Path(path).write_bytes(b"old")
    monkeypatch.setattr(os, "rename", _no_space)
    with pytest.raises(OSError):
        uidlist.replace_file(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == [uidlist.FILE_NAME]
    assert Path(path).read_bytes() == b"old"


def _no_space(*_):
    raise OSError(28, "no space")


def test_records_survive_and_mend_a_torn_list(tmp_path):
    first = Records(str(tmp_path))
    first.load()
    assert list(first.number(["a", "b"])) == [1, 2]
    assert first.letters(["$Junk"]) == "a"
    with open(tmp_path / uidlist.FILE_NAME, "ab") as file:
        file.write(b"3 :torn")
    second = Records(str(tmp_path))
    second.load()
    assert second.listed.validity == first.listed.validity
    assert second.listed.uids == {"a": 1, "b": 2}
    assert list(second.number(["c"])) == [3]
    assert second.keywords.names == ("$Junk",)
    assert uidlist.read(str(tmp_path / uidlist.FILE_NAME)).uids == {"a": 1, "b": 2, "c": 3}


def test_an_unreadable_list_starts_the_folder_anew(tmp_path):
    first = Records(str(tmp_path))
    first.load()
    first.number(["a"])
    (tmp_path / uidlist.FILE_NAME).write_bytes(b"garbage\n")
    second = Records(str(tmp_path))
    second.load()
    assert second.listed.uids == {}
    assert second.listed.validity > first.listed.validity


def test_lines_of_the_dead_are_dropped_and_their_uids_never_used_again(tmp_path):
    many = Records(str(tmp_path))
    many.load()
    names = [f"m{number}" for number in range(records.DEAD_LINES_COUNT + 10)]
    many.number(names)
    many.forget_all_but({names[3]})
    again = Records(str(tmp_path))
    again.load()
    assert again.listed.uids == {names[3]: 4}
    assert list(again.number(["next"])) == [len(names) + 1]
