"""What `mailauth serve` has to write: the store's folder, mailboxes, the log, the high-water file, sockets' folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mailauth.config.bridge import UnixPath
from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, ok, problem
from mailauth.doctor.rights import ENTER, WRITE, Obstacle, obstacle
from mailauth.store.engine import SQLITE_SCHEME, sqlite_path


def _examine(case: Case) -> Iterator[Finding]:
    for what, path, wanted in _wanted(case):
        hindered = _hindered(case, path, wanted)
        if hindered is None:
            yield ok(f"{what} {path}", f"{case.server.name} may write there")
        else:
            mend = f"make it, and give it to {case.server.name}: chown {case.server.name} {hindered.place}"
            yield problem(f"{what} {path}", f"{hindered.what}, and `mailauth serve` has to", mend)


def _hindered(case: Case, path: Path, wanted: int) -> Obstacle | None:
    """What is not there is made by the server, if it may write into what is above it."""
    hindered = obstacle(case.server, path, wanted)
    if hindered is not None and hindered.is_missing and hindered.place.parent.is_dir():
        return obstacle(case.server, hindered.place.parent, WRITE | ENTER)
    return hindered


def _wanted(case: Case) -> Iterator[tuple[str, Path, int]]:
    settings = case.settings
    if settings.store.url.startswith(SQLITE_SCHEME):
        file = sqlite_path(settings.store.url).absolute()
        yield "store", file, WRITE
        yield "the store's folder", file.parent, WRITE | ENTER
    yield "the key file's folder", settings.key.file.absolute().parent, WRITE | ENTER
    if settings.listen and settings.mailbox.kind == "maildir":
        yield "mailboxes", settings.mailbox.path.absolute(), WRITE | ENTER
    if settings.log.file is not None:
        yield "log", settings.log.file.absolute(), WRITE
    sockets = [bridge.address.path for bridge in settings.bridge if isinstance(bridge.address, UnixPath)]
    for folder in dict.fromkeys([path.absolute().parent for path in sockets if not _is_made_for(case, path)]):
        yield "a socket's folder", folder, WRITE | ENTER


def _is_made_for(case: Case, path: Path) -> bool:
    """Whether somebody else, systemd, has made this socket and hands it over."""
    try:
        return path.is_socket() and path.stat().st_uid != case.server.uid
    except OSError:
        return False


CHECK = Check(50, "places to write", _examine)
