"""Whether a user's process can reach a UNIX socket: tried as that user and in its chroot, where we may.

Rule: as root it is tried, by `knock`; otherwise it is worked out from owners and modes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mailauth.doctor import knock
from mailauth.doctor.hosts.host import Asking
from mailauth.doctor.rights import WRITE, Obstacle, obstacle, seen_from

PATIENCE_S = 20.0
IN = "in"
NOBODY_LISTENS = "ECONNREFUSED"


@dataclass(frozen=True, slots=True)
class Reach:
    """place: where the socket is, whoever names it. said: IN, or an error's name. was_tried: not only worked out.

    hindrance: what stands in the way, as far as owners and modes tell.
    """

    place: Path
    said: str
    was_tried: bool
    hindrance: Obstacle | None = None


def reach(asking: Asking) -> Reach:
    """Try, or work out, whether this process gets to its socket."""
    within = Path(os.path.normpath(asking.folder / asking.path))
    place = seen_from(asking.root, within)
    hindrance = obstacle(asking.user, within, WRITE, asking.root)
    if os.geteuid() == 0:
        return Reach(place, _tried(asking), True, hindrance)
    if hindrance is not None:
        return Reach(place, "EACCES", False, hindrance)
    return Reach(place, _listened_on(place), False)


def _tried(asking: Asking) -> str:
    told = {
        "root": "" if asking.root == Path("/") else str(asking.root),
        "folder": str(asking.root) if asking.root != Path("/") else str(asking.folder),
        "path": asking.path,
        "uid": asking.user.uid,
        "groups": asking.user.groups or [asking.user.uid],
    }
    words = [sys.executable, "-I", "-S", knock.__file__, json.dumps(told)]
    try:
        done = subprocess.run(  # noqa: S603  our own program
            words, capture_output=True, text=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return done.stdout.strip() or "EIO"


def _listened_on(place: Path) -> str:
    """Without the right to become somebody else: whether anybody listens, as far as we may see."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(place))
        except ConnectionRefusedError:
            return NOBODY_LISTENS
        except OSError:  # it is not for us: what it is for others was worked out
            return IN
    return IN
