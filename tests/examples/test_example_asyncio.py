"""The asyncio example, run as it stands, with poplib."""

from __future__ import annotations

import poplib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from site_of_tests import Site, free_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "asyncio_server.py"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.add("ada@example.test", "web password", mode=True)
    return site


def test_the_asyncio_example_judges_as_our_own_listeners_do(site):
    app = site.mint("ada@example.test")
    (port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, EXAMPLE, site.config, site.folder / "server.pem", site.folder / "server.key", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening")
        client = poplib.POP3_SSL("localhost", port, context=site.client_tls, timeout=10)
        client.user("ada@example.test")
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
            client.pass_("web password")
        client.user("ada@example.test")
        assert client.pass_(app.password) == b"+OK ada@example.test is in"
        client.quit()
        process.send_signal(signal.SIGINT)
        assert "bye" in process.stdout.read()
