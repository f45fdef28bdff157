"""The aiosmtpd example, run as it stands, with smtplib."""

from __future__ import annotations

import signal
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from site_of_tests import Site, free_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "aiosmtpd_server.py"
ADA = "ada@example.test"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.add(ADA, "web password", mode=True)
    return site


def test_the_aiosmtpd_example_judges_as_our_own_listeners_do(site):
    app = site.mint(ADA)
    (port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, EXAMPLE, site.config, site.folder / "server.pem", site.folder / "server.key", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening")
        with smtplib.SMTP("localhost", port, timeout=10) as client:
            client.starttls(context=site.client_tls)
            with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                client.login(ADA, "web password")
            assert caught.value.smtp_code == 535
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail(ADA, ["bob@example.test"], "Subject: too early\n\nbody\n")
            client.login(ADA, app.password)
            client.sendmail(ADA, ["bob@example.test"], "Subject: hello\n\nbody\n")
        assert process.stdout.readline() == f"{ADA} sent 24 octets to bob@example.test\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "bye\n"
    assert process.returncode == 0
