"""What a service manager is told: that everything listens, and that we are about to end.

Source: sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names; "@" begins an abstract one (unix(7)).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"
READY, STOPPING = "READY=1", "STOPPING=1"


def tell(state: str) -> None:
    """Tell it, if anybody wants to know. Who cannot be told finds out: it is no reason not to serve."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        return
    address = "\0" + named[1:] if named.startswith("@") else named
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.send(state.encode())
