"""What malloc keeps: that asking it for less does no harm, wherever we run; what it saves is measured in bench/."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from mailauth.serving import memory

LEFT_BEHIND = """
import ctypes, sys
from mailauth.serving import memory

def resident_kib():
    return int(open("/proc/self/statm").read().split()[1]) * 4

memory.keep_little()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resident_kib()
blocks = [libc.malloc(60_000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
for block in blocks[:-1]:  # the last one keeps the heap's end where it is
    libc.free(block)
assert resident_kib() - before > 50_000
memory.give_back()
assert resident_kib() - before < 10_000, resident_kib() - before
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_what_is_free_is_given_back() -> None:
    subprocess.run([sys.executable, "-c", LEFT_BEHIND], check=True)


def test_another_libc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:
        pass

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Musl())
    memory.keep_little()
    memory.give_back()
