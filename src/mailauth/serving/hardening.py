"""What this process holds in memory (passwords, server keys) is nobody else's business, even when it dies.

Source: prctl(2), PR_SET_DUMPABLE; core(5). A core dump would hold passwords, and where the kernel pipes cores into a
program (systemd-coredump, apport), a limit of 0 alone does not stop it. What is not dumpable is neither dumped nor open
to other programs of the same user: no debugger, no /proc/PID/mem or environ.
Rule: called before any secret is read.
"""

from __future__ import annotations

import ctypes
import resource
import sys

PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """No core dumps, and (Linux) no looking in. Programs that this one starts are free of the second."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        zero = ctypes.c_ulong(0)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, zero, zero, zero, zero)
