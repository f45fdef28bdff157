"""House rules that a machine can hold: read from the syntax trees, so that nobody has to remember them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mailauth.attempt import Attempt, Credential, Service

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for path in (ROOT / "src" / "mailauth").rglob("*.py")
    if not path.name.startswith("sql_") and "versions" not in path.parts
)
HOT = [
    path
    for path in SOURCES
    if {"verify", "sasl", "imap", "pop3", "smtp", "bridges", "serving"} & set(path.parts)
    or path.parent.name == "mailauth"
]
MODULE_LINES = 300
SHORTER = {"verifier.py": 200, "compose.py": 200}
FUNCTION_LINES = 40
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "misc"}
SECRETS = {"password", "secret", "passwd", "cleaned", "token", "code", "web_password", "app_password"}
BROAD_CATCHES = {"verifier.py", "lines.py"}  # the two places where any fault becomes a Defer
# The key file itself; and the terminal, once, for the person who asked for the password.
ALLOWED_TO_SHOW = ("mailauth/keys.py", "cli/app_password.py", "demo/screen.py")
OTHERS_CODE = {  # places that run somebody else's code, whose faults must not end a session, a thread or a command
    "smtp/connection.py",
    "smtp/exchange.py",
    "mailauth/events.py",
    "serving/bridging.py",
    "mailbox/imap_session.py",
    "store/applier.py",
    "store/writebehind.py",
    "cli/main.py",
}

by_file = pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src" / "mailauth")))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@by_file
def test_a_file_says_one_thing_in_few_lines(path):
    assert len(path.read_text().splitlines()) <= SHORTER.get(path.name, MODULE_LINES)


@by_file
def test_a_function_is_read_at_a_glance(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name}: {lines} lines"


@by_file
def test_a_module_is_named_for_what_it_holds_and_says_so(path):
    assert path.stem not in FORBIDDEN_NAMES
    if path.read_text().strip():
        assert ast.get_docstring(tree(path)), "no docstring"


@by_file
def test_a_fault_never_becomes_a_refusal(path):
    """No Reject is built inside an except block: there, exceptions mean fault."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler) and not _is_about_a_name(node):
            for inner in ast.walk(node):
                called = isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id
                assert called != "Reject", f"line {inner.lineno}"


def _is_about_a_name(handler: ast.ExceptHandler) -> bool:
    """`except names.NotALogin`: the peer's bytes are no login, which is a finding and no fault."""
    kind = handler.type
    return isinstance(kind, ast.Attribute) and kind.attr == "NotALogin"


@by_file
def test_broad_catches_stay_where_they_belong(path):
    if path.name in BROAD_CATCHES or any(str(path).endswith(place) for place in OTHERS_CODE):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            assert not broad, f"line {node.lineno}"


@by_file
def test_no_secret_is_formatted_into_a_text(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FormattedValue):
            names = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
            names |= {n.attr for n in ast.walk(node.value) if isinstance(n, ast.Attribute)}
            hit = names & SECRETS
            assert not hit or str(path).endswith(ALLOWED_TO_SHOW), f"line {node.lineno}: {hit}"


@by_file
def test_nobody_prints_but_the_command_line(path):
    if path.parent.name in {"cli", "demo"} or path.name == "compile.py":
        return
    for node in ast.walk(tree(path)):
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")


@pytest.mark.parametrize("path", HOT, ids=lambda p: str(p.relative_to(ROOT / "src" / "mailauth")))
def test_verdicts_are_matched_and_never_tested(path):
    """`if verdict:` would let everybody in. (bool() of one raises; this finds it before it runs.)"""
    for node in ast.walk(tree(path)):
        tests = [node.test] if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert) else []
        for test in tests:
            assert not (isinstance(test, ast.Name) and test.id in {"verdict", "outcome"}), f"line {test.lineno}"


def test_secrets_are_left_out_of_every_repr():
    attempt = Attempt(Credential("a@example.test", "hunter2-hunter2"), Service.IMAP, "192.0.2.1", True)
    assert "hunter2" not in f"{attempt!r} {attempt.credential!r} {attempt}"


def test_importing_the_package_costs_nothing():
    loaded = subprocess.run(
        [sys.executable, "-c", "import mailauth, sys; print([m for m in sys.modules if m.startswith('mailauth.')])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "[]"


def test_no_registry_url_is_locked():
    for path in ROOT.glob("requirements*.txt"):
        assert "://" not in path.read_text(), path.name


def test_nothing_reaches_outside_the_project():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCES, *(ROOT / "tests").rglob("*.py")]:
        if path != Path(__file__):
            assert ".." + "/shared" not in path.read_text(), path
