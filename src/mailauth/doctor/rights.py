"""What a user may do with a path, by owner, group and mode of everything on the way to it.

Source: path_resolution(7), unix(7) (a socket is connected to by whoever may write it). Rule: only looked at; access
lists, capabilities and namespaces are not known here, so where it can be tried it is tried (`knock`).
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, ENTER = 4, 2, 1
LINKS_MOST = 40


@dataclass(frozen=True, slots=True)
class User:
    """A user as the kernel sees its processes. name: for people; groups: the first is its own."""

    name: str
    uid: int
    groups: tuple[int, ...]

    def may(self, status: os.stat_result, wanted: int) -> bool:
        """Whether all these bits hold for it."""
        if self.uid == 0:
            return True
        shift = 6 if self.uid == status.st_uid else 3 if status.st_gid in self.groups else 0
        return (status.st_mode >> shift) & wanted == wanted


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a user from a path. place: where; what: is wrong with it; is_missing: it is not there at all."""

    place: Path
    what: str
    is_missing: bool = False
    is_folder: bool = False


def user_named(name: str) -> User | None:
    """A user by name or number; None: there is none."""
    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return User(name, int(name), (int(name),)) if name.isdigit() else None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return User(found.pw_name, found.pw_uid, (found.pw_gid, *[group for group in groups if group != found.pw_gid]))


def user_with(uid: int) -> User:
    """A user by number, whether the system knows it or not."""
    return user_named(str(uid)) or User(str(uid), uid, ())


def seen_from(root: Path, path: Path) -> Path:
    """Where a path is that a process in this root names: links are followed as they are followed in there."""
    return _walk(root, path)[-1]


def obstacle(user: User, path: Path, wanted: int, root: Path = Path("/")) -> Obstacle | None:
    """The first thing on the way that keeps this user from it; None: nothing does. root: its chroot."""
    places = _walk(root, path)
    for place in places[:-1]:
        status = _status(place)
        if status is None:
            return Obstacle(place, f"{place} is not there", is_missing=True)
        if not user.may(status, ENTER):
            return Obstacle(place, f"{user.name} may not enter {place} ({told(status)})", is_folder=True)
    status = _status(places[-1])
    if status is None:
        return Obstacle(places[-1], f"{places[-1]} is not there", is_missing=True)
    if not user.may(status, wanted):
        doing = "use" if stat.S_ISSOCK(status.st_mode) else "write" if wanted & WRITE else "read"
        return Obstacle(places[-1], f"{user.name} may not {doing} {places[-1]} ({told(status)})")
    return None


def told(status: os.stat_result) -> str:
    """Owner and mode, such as "mode 0700, of postfix"."""
    return f"mode {stat.S_IMODE(status.st_mode):04o}, of {user_with(status.st_uid).name}"


def _walk(root: Path, path: Path) -> list[Path]:
    """Everything on the way from `root` to `path` (as seen in it), links followed; the last one is the end.

    What lies over a chroot is passed by root, before it is entered.
    """
    ahead = [part for part in reversed(path.parts) if part != "/"]
    places, here, links = [root], root, 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            here = here if here == root else here.parent
            continue
        there = here / name
        if links < LINKS_MOST and os.path.islink(there):  # noqa: PTH114  Path's raises where it may not look
            links += 1
            target = there.readlink()
            here = root if target.is_absolute() else here
            ahead += list(reversed([part for part in target.parts if part != "/"]))
            continue
        here = there
        places.append(there)
    return places


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.stat()
    except OSError:
        return None
