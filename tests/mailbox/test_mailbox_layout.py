import fnmatch
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.mailbox import layout, messagefile
from mailauth.mailbox.layout import BadName, FolderExists, Layout, NoFolder

HOSTILE = [
    "../x",
    "..",
    ".",
    "a/../b",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/",
    "",
    "//",
    "a//b",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "\ud800",
    "x" * 256,
    "é" * 100,
    "/".join("abcdefghijklmnopqrstuvwxyz"),
]
ODD = [
    "~",
    "~root",
    "~/x",
    "a.b",
    ".hidden",
    "...",
    "a..b",
    "cur",
    "new",
    "tmp",
    "*",
    "%",
    "a b",
    "&",
    "INBOX/x",
    "%2e%2e",
    "\\",
    "日本",
]


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / "example.test" / "alice"
    messagefile.make_maildir(str(root))
    return Layout(str(root))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(folders, name):
    for use in (folders.make, folders.remove, folders.path, folders.subscribe):
        with pytest.raises(BadName):
            use(name)
    folders.make("a")
    with pytest.raises(BadName):
        folders.rename("a", name)


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_just_names(folders, name):
    folders.make(name)
    assert folders.names() == [layout.canonical(name)]
    (entry,) = [made.name for made in Path(folders.root).iterdir() if made.name.startswith(".")]
    assert layout.name_of(entry) == layout.canonical(name)
    folders.remove(name)
    assert folders.names() == []


@given(st.text(max_size=60))
def test_no_name_leads_out_of_the_account(name):
    folders = Layout("/mail/example.test/alice")
    try:
        path = folders.path(name)
    except BadName:
        return
    if path != folders.root:
        entry = os.path.relpath(os.path.normpath(path), folders.root)
        assert os.sep not in entry
        assert entry.startswith(".")
        assert entry not in (".", "..")
        assert layout.name_of(entry) == layout.canonical(name)


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_names_are_never_one_folder(one, other):
    try:
        same = layout.entry(one) == layout.entry(other)
        assert same is (layout.canonical(one) == layout.canonical(other))
    except BadName:
        pass


@pytest.mark.parametrize("entry", [".", "..", ".a..b", ".&", ".é", ".a&AC4", ".&AOk-&AOk-", ".a/b", ". \x01"])
def test_other_peoples_directories_are_no_folders(entry):
    assert layout.name_of(entry) is None


def test_a_folder_is_a_maildir_of_our_own(folders):
    folders.make("Archive/2024")
    path = Path(folders.root, ".Archive.2024")
    assert sorted(child.name for child in path.iterdir()) == ["cur", "maildirfolder", "new", "tmp"]
    assert {stat.S_IMODE(child.stat().st_mode) for child in (path, path / "cur", path / "new", path / "tmp")} == {0o700}


def test_inbox_is_there_in_any_case_and_stays(folders):
    assert folders.path("inbox") == folders.root == folders.path("INBOX/")
    with pytest.raises(FolderExists):
        folders.make("Inbox")
    with pytest.raises(BadName):
        folders.remove("INBOX")


def test_what_is_there_is_not_made_again(folders):
    folders.make("A")
    with pytest.raises(FolderExists):
        folders.make("A/")
    with pytest.raises(NoFolder):
        folders.remove("B")


def test_a_folder_goes_with_its_messages_and_without_its_children(folders):
    folders.make("A")
    folders.make("A/B")
    Path(folders.path("A"), "cur", "1.x").write_bytes(b"x")
    folders.remove("A")
    assert folders.names() == ["A/B"]
    assert not list(Path(folders.root, "tmp").iterdir())


def test_children_go_where_their_parent_goes(folders):
    for name in ("A", "A/B", "A/B/C", "AB"):
        folders.make(name)
    assert folders.rename("A", "X/Y") == ["A", "A/B", "A/B/C"]
    assert folders.names() == ["AB", "X/Y", "X/Y/B", "X/Y/B/C"]
    assert folders.rename("X", "Z") == ["X/Y", "X/Y/B", "X/Y/B/C"]  # a parent that is no folder itself


def test_a_rename_changes_nothing_when_something_is_in_the_way(folders):
    for name in ("A", "A/B", "X/B"):
        folders.make(name)
    with pytest.raises(FolderExists):
        folders.rename("A", "X")
    with pytest.raises(BadName):
        folders.rename("A", "A/C")
    with pytest.raises(NoFolder):
        folders.rename("Q", "R")
    assert folders.names() == ["A", "A/B", "X/B"]


def test_subscriptions_outlive_the_folder(folders):
    folders.make("A.b/C")
    folders.subscribe("A.b/C")
    folders.subscribe("Nowhere")
    folders.subscribe("Nowhere")
    folders.remove("A.b/C")
    assert folders.subscribed() == ["A.b/C", "Nowhere"]
    folders.unsubscribe("Nowhere")
    folders.unsubscribe("Never")
    assert Layout(folders.root).subscribed() == ["A.b/C"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["INBOX", "A", "A/B", "A/B/C"]),
        ("%", ["INBOX", "A"]),
        ("A/%", ["A/B"]),
        ("A*", ["A", "A/B", "A/B/C"]),
        ("%/%", ["A/B"]),
        ("*%*C", ["A/B/C"]),
        ("inbox", ["INBOX"]),
        ("a", []),
        ("", []),
        ("A/", []),
        ("A.B", []),
        ("*" * 999, ["INBOX", "A", "A/B", "A/B/C"]),
        ("*" * 1001, []),
    ],
)
def test_list_patterns_mean_what_the_rfc_says(pattern, names):
    assert [name for name in ("INBOX", "A", "A/B", "A/B/C") if layout.matches(pattern, name)] == names


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_stars_match_as_they_do_elsewhere(pattern, name):
    assert layout.matches(pattern, name) is fnmatch.fnmatchcase(name, pattern)


def test_no_pattern_is_slow():
    assert not layout.matches("*a" * 400 + "b", "a" * 250)  # a backtracking matcher would not come back
