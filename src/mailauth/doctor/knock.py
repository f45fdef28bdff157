"""A program of its own: connects to a UNIX socket as another user, from where that user's processes stand.

It is run by path, as root, with three arguments: a JSON object (`root`, `folder`, `path`, `uid`, `groups`), and writes
one line: "in", or the name of the error. Rule: nothing of the product is imported, since within a chroot nothing could
be; and nothing is said on the socket.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys

PATIENCE_S = 5.0


def knocked(told: dict[str, object]) -> str:
    """root, folder: "" for none; path: as the host writes it; uid; groups: the first is the user's own."""
    groups = [int(group) for group in told["groups"]]  # type: ignore[attr-defined]
    if told["folder"]:
        os.chdir(str(told["folder"]))
    if told["root"]:
        os.chroot(str(told["root"]))
    os.setgroups(groups)
    os.setgid(groups[0])
    os.setuid(int(str(told["uid"])))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(told["path"]))
    return "in"


if __name__ == "__main__":
    try:
        SAID = knocked(json.loads(sys.argv[1]))
    except TimeoutError:
        SAID = "ETIMEDOUT"
    except OSError as error:
        SAID = errno.errorcode.get(error.errno or 0, "EIO")
    sys.stdout.write(SAID + "\n")
