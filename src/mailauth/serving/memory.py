"""What glibc's malloc keeps of what is freed: little, so that a crowd that has left leaves its memory too.

Source: mallopt(3), malloc_trim(3). Each connection with TLS has a read buffer of 256 KiB, of which two pages are ever
touched. From the first that is freed, malloc would take such buffers from its heap, and there from pages that others
have touched: 46 KiB for an idle connection in place of 25. Rule: elsewhere than on glibc, nothing happens.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
OWN_PAGES_BYTES = 2**17  # what is larger has pages of its own, given back when it is freed; glibc begins with this
# That takes 15 us a connection. So the heap keeps room at its end for the buffers of some fifty that come and go, and
# grows in steps in which there is room for one buffer and not for two: of a growing crowd's, few lie there.
TOP_BYTES, STEP_BYTES = 2**24, 500 * 1024


def keep_little() -> None:
    """From now on, in the whole process."""
    _call("mallopt", M_MMAP_THRESHOLD, OWN_PAGES_BYTES)
    _call("mallopt", M_TRIM_THRESHOLD, TOP_BYTES)
    _call("mallopt", M_TOP_PAD, STEP_BYTES)


def give_back() -> None:
    """Return what is free inside the heap. Takes up to 30 ms for 100 MiB: not for the event loop's thread."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return
    function(*arguments)
