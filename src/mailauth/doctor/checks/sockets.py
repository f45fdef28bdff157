"""The place of each bridge: there, listened on, and within the reach of whoever asks, in the chroot where it has one.

Rule: who asks is known from mail servers' configurations, and from `users`, `groups` and `socket_group` of the bridge.
"""

from __future__ import annotations

import grp
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mailauth.config import Address
from mailauth.config.bridge import Bridge, UnixPath
from mailauth.doctor.case import Case, named
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem
from mailauth.doctor.hosts.host import Asking, reachable
from mailauth.doctor.reaching import IN, NOBODY_LISTENS, Reach, reach
from mailauth.doctor.rights import User, user_named
from mailauth.serving.peercred import NoSuchName, group_id, user_id

START = "start `mailauth serve`, and see that it says `listening bridge` for this one"
PATIENCE_S = 5.0


def _examine(case: Case) -> Iterator[Finding]:
    asking = [(one, reach(one)) for host in case.known for one in host.asking]
    for bridge in case.settings.bridge:
        if isinstance(bridge.address, Address):
            yield _by_tcp(bridge, bridge.address)
        else:
            yield from _by_path(case, bridge, bridge.address.path.resolve(), asking)
    places = {one.address.path.resolve() for one in case.settings.bridge if isinstance(one.address, UnixPath)}
    yield from [_astray(one, reached) for one, reached in asking if reached.place.resolve() not in places]


def _by_tcp(bridge: Bridge, address: Address) -> Finding:
    try:
        socket.create_connection((reachable(address.host), address.port), PATIENCE_S).close()
    except OSError as error:
        return problem(named(bridge), f"nobody listens there ({error.strerror or type(error).__name__})", START)
    return ok(named(bridge), "it listens; whoever gets there can try passwords, so let nobody else get there")


def _by_path(case: Case, bridge: Bridge, place: Path, asking: list[tuple[Asking, Reach]]) -> Iterator[Finding]:
    here = [(one, reached) for one, reached in asking if reached.place.resolve() == place]
    seen = {one.user.uid for one, _ in here}
    admitted = [user for user in _admitted(bridge) if user.uid not in seen]
    here += [(one, reach(one)) for user in admitted for one in [Asking(user.name, user, str(place), "address")]]
    if not here:
        told = "nobody but root and the user of `mailauth serve` may ask there"
        yield not_checked(named(bridge), told, 'name the mail server\'s group: socket_group = "..."')
    for one, reached in here:
        subject = f"{named(bridge)}, for {one.who}"
        if reached.said != IN:
            yield problem(subject, _why(one, reached), _mend(one, reached))
        elif not _is_admitted(bridge, one.user, case.server):
            told = f"a process of {one.user.name} gets there and is turned away"
            yield problem(subject, told, f'write users = ["{one.user.name}"] into this [[bridge]], and start anew')
        else:
            how = "tried as that user" if reached.was_tried else "by owners and modes; root could try it"
            yield ok(subject, f"within reach of {one.user.name} ({how})")


def _astray(one: Asking, reached: Reach) -> Finding:
    """It asks where no bridge of ours is."""
    subject = f"{one.who}, {one.setting} = {one.path}"
    if reached.said == IN:
        return not_checked(
            subject, f"somebody listens at {reached.place}, which is no [[bridge]] of this configuration"
        )
    return problem(subject, _why(one, reached), _mend(one, reached))


def _why(one: Asking, reached: Reach) -> str:
    jailed = f"; its chroot is {one.root}, so that {one.path} means {reached.place}" if one.root != Path("/") else ""
    if reached.hindrance is not None:
        return reached.hindrance.what + jailed
    if reached.said == NOBODY_LISTENS:
        return f"the socket is there, and nobody listens{jailed}"
    return f"{one.user.name} cannot connect to {reached.place} ({reached.said}){jailed}"


def _mend(one: Asking, reached: Reach) -> str:
    hindrance, user = reached.hindrance, one.user.name
    if hindrance is None:
        return START
    if hindrance.is_missing and one.root != Path("/"):
        place = f'address = "unix:{one.root}/{one.inside}"'
        return f"give the bridge a place in the chroot, {place}, and have {one.setting} name {one.inside}"
    if hindrance.is_missing:
        return f"{START}; its address and {one.setting} must mean the same place"
    if hindrance.is_folder:
        return f"let {user} enter it: chmod o+x {hindrance.place}, or have {user}'s group be its group"
    group = _group_name(one.user)
    told = f'write socket_group = "{group}" and socket_mode = "0660" into its [[bridge]], and start mailauth anew'
    return f"{told}; where systemd has made it: `mailauth setup systemd --write`, then restart its sockets, too"


def _admitted(bridge: Bridge) -> list[User]:
    """Whoever may ask, by the configuration, and is known to this machine; each once."""
    names = list(bridge.users)
    for group in filter(None, [bridge.socket_group, *bridge.groups]):
        with suppress(KeyError):
            found = grp.getgrgid(int(group)) if group.isdigit() else grp.getgrnam(group)
            names += found.gr_mem
        names.append(group)  # a daemon's user and its own group have one name
    users = [user for name in names if (user := user_named(name)) is not None and user.uid != 0]
    return list({user.uid: user for user in users}.values())


def _is_admitted(bridge: Bridge, user: User, server: User) -> bool:
    """As serving.peercred decides."""
    groups = [*bridge.groups, *filter(None, [bridge.socket_group])]
    try:
        uids, gids = {*map(user_id, bridge.users)}, {*map(group_id, groups)}
    except NoSuchName:  # it does not start with these
        return False
    return user.uid in {0, server.uid, *uids} or bool(gids & {*user.groups})


def _group_name(user: User) -> str:
    try:
        return grp.getgrgid(user.groups[0]).gr_name
    except (KeyError, IndexError):
        return str(user.uid)


CHECK = Check(80, "sockets of bridges", _examine)
