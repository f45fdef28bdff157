"""An event loop in debug mode writes down callbacks, tasks and what they hold: no password is among it.

The loop is made to think that every callback was slow, so that it tells of all of them.
"""

from __future__ import annotations

import contextlib
import secrets

import pytest

from mailauth.attempt import Service
from site_of_tests import DOORS, WAYS, Site

LOUD = "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n[log]\nlevel = 'debug'\n"
LOGIN = "ada@example.test"
WINDOW = 8  # characters: reprlib leaves out the middle of long ones
ALL_IS_SLOW = """
import asyncio, sys
{uvloop}
run = asyncio.Runner.run
def slow(self, *args, **kwargs):
    self.get_loop().slow_callback_duration = 0.0
    return run(self, *args, **kwargs)
asyncio.Runner.run = slow
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_no_password_is_in_what_a_loop_in_debug_mode_says(tmp_path, loop):
    without = "sys.modules['uvloop'] = None" if loop == "asyncio" else ""
    (tmp_path / "sitecustomize.py").write_text(ALL_IS_SLOW.format(uvloop=without))
    site = Site(tmp_path, sections=LOUD)
    web, wrong = secrets.token_hex(20), secrets.token_hex(20)
    site.add(LOGIN, web)
    app = site.mint(LOGIN).password
    with site.serving(PYTHONASYNCIODEBUG="1", PYTHONPATH=str(tmp_path)):
        for service, tls in DOORS:
            for way in WAYS:
                for password in (web, app, wrong):
                    site.ask(service, LOGIN, password, way, tls)
        with site.client(Service.IMAP) as client, contextlib.suppress(Exception):
            client.send(b"a LOGIN ada@example.test {40}\r\n")  # half a command, and gone
            client.send(wrong.encode()[:20])
    assert site.log.count("Executing <") > 100  # it did tell
    assert site.log.count(" login service=") == len(DOORS) * len(WAYS) * 3
    for password in (web, app, wrong):
        for start in range(len(password) - WINDOW + 1):
            assert password[start : start + WINDOW] not in site.log
