"""The portal put together from a configuration: its factors, what is wrong with them, and how it is served."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2
import pytest

from commandline import free_offset, serving
from mailauth import config
from mailauth.config import ConfigError
from mailauth.founding.site import found
from mailauth.webportal import factors_of, servers_of

NEEDED = '[store]\nurl = "sqlite:///a"\n[key]\nfile = "k"\n'
PORTAL = NEEDED + '[portal]\npublic_url = "http://localhost:8080"\n'
SMS = '[factors.sms]\ngateway = "sms_webhook"\n'
WEBHOOK = '[gateways.sms_webhook]\nurl = "https://sms.example.org/send"\nsecret_file = "sms-secret"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sms-secret").write_text("a secret of more than sixteen\n")
    return tmp_path / "mailauth.toml"


def loaded(file: Path, text: str) -> config.Settings:
    file.write_text(text)
    return config.load(file)


def test_without_tables_there_are_the_usual_factors(file: Path) -> None:
    assert list(factors_of(loaded(file, PORTAL))) == ["totp", "webauthn", "recovery-codes"]


def test_passkeys_are_no_usual_factor_of_an_address(file: Path) -> None:
    settings = loaded(file, PORTAL.replace("localhost", "127.0.0.1"))
    assert list(factors_of(settings)) == ["totp", "recovery-codes"]


def test_without_a_portal_there_are_none(file: Path) -> None:
    assert factors_of(loaded(file, NEEDED + "[factors.totp]\n")) == {}


def test_factors_are_offered_in_the_order_of_the_file(file: Path) -> None:
    settings = loaded(file, PORTAL + SMS + WEBHOOK + "[factors.recovery-codes]\n[factors.totp]\nissuer = 'Ours'\n")
    factors = factors_of(settings)
    assert list(factors) == ["sms", "recovery-codes", "totp"]
    assert factors["totp"].issuer == "Ours"  # type: ignore[attr-defined]
    assert factors["sms"].gateway.secret == "a secret of more than sixteen"  # type: ignore[attr-defined]


WRONG = {
    "[factors.totp]\nissuers = 'x'\n": "[factors.totp] issuers: is unknown here; there are: issuer",
    "[factors.totp]\ndigits = 7\n": "[factors.totp] digits: must be 6 or 8",
    "[factors.carrier-pigeon]\n": "[factors.carrier-pigeon]: there is no factors plug-in named",
    "[factors.webauthn]\nrp_id = 'evil.example'\n": "[factors.webauthn] rp_id: is unknown here",
    "[factors.sms]\n": '[factors.sms] gateway: is missing; it names a table: gateway = "NAME"',
    SMS: "[factors.sms] gateway: there is no table [gateways.sms_webhook]",
    SMS + "[gateways.sms_webhook]\nurl = 'https://a.example'\n": "[gateways.sms_webhook] secret_file: is missing",
    SMS + WEBHOOK.replace("https", "http"): "[gateways.sms_webhook] url: must begin with https://",
    SMS + WEBHOOK.replace("sms-secret", "nowhere"): "[gateways.sms_webhook] secret_file: cannot read",
    "[factors.wechat]\napp_id = 'x'\n": "[factors.wechat] app_secret_file: is missing",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_names_table_key_and_reason(file: Path, text: str) -> None:
    settings = loaded(file, PORTAL + text)
    with pytest.raises(ConfigError) as refused:
        factors_of(settings)
    assert WRONG[text] in str(refused.value)
    assert str(file) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


UNREADABLE = {
    "factors = 1\n": "[factors] must hold tables, each written [factors.NAME]",
    "[factors]\ntotp = 1\n": "[factors] totp: must be a table, written [factors.totp]",
    "[factors.wechat]\napp_secret = 'shown to all'\n": "app_secret: a secret does not stand in this file",
    "[gateways.sms_twilio]\npassword = 'shown to all'\n": "name that in password_file",
    "[factors.wechat]\napp_secret_file = 3\n": "[factors.wechat] app_secret_file: must be text in quotes",
    "[factors.wechat]\napp_secret_file = 'env:1 2'\n": "env: must be followed by the name of a variable",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_said_at_once_and_no_secret_is_shown(file: Path, text: str) -> None:
    whole = text + PORTAL if text.startswith("factors") else PORTAL + text
    with pytest.raises(ConfigError) as refused:
        loaded(file, whole)
    assert UNREADABLE[text] in str(refused.value)
    assert "shown to all" not in str(refused.value)


def test_a_secret_may_come_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECHAT_SECRET", "from outside")
    text = "[factors.wechat]\napp_id = 'wx'\napp_secret_file = 'env:WECHAT_SECRET'\n"
    factor = factors_of(loaded(file, PORTAL + text))["wechat"]
    assert factor.app_secret == "from outside"  # type: ignore[attr-defined]
    assert factor.redirect_uri == "http://localhost:8080/return/wechat"  # type: ignore[attr-defined]
    assert "from outside" not in repr(factor)


def test_users_are_told_the_servers_that_there_are(file: Path) -> None:
    imap = "[tls]\ncertificate = 'c'\nkey = 'k'\n"
    imap += "[[listen]]\nservice = 'imap'\naddress = '127.0.0.1:1993'\ntls = 'implicit'\n"
    told = servers_of(
        loaded(file, PORTAL.replace("[portal]\n", "[portal]\nsmtp_server = 'out.example.org:587'\n") + imap)
    )
    assert [(at.service, at.host, at.port, at.tls) for at in told] == [
        ("imap", "localhost", 1993, True),
        ("smtp", "out.example.org", 587, False),
    ]


@pytest.mark.slow
def test_it_is_served_over_tls_and_the_simulated_world_is_the_demos_alone(tmp_path: Path) -> None:
    offset = free_offset()
    layout = found(tmp_path / "site", offset)
    text = layout.config.read_text().replace(f"http://localhost:{8080 + offset}", f"https://localhost:{8080 + offset}")
    layout.config.write_text(text)
    trust = ssl.create_default_context(cafile=layout.authority)
    with serving("serve", "--config", str(layout.config)) as server:
        server.wait_for(f"listening portal 127.0.0.1:{8080 + offset} https://localhost:{8080 + offset}\n")
        with httpx2.Client(base_url=f"https://localhost:{8080 + offset}", verify=trust) as browser:
            page = browser.get("/signin")
            assert page.status_code == 200
            assert "__Host-mailauth-form=" in page.headers["set-cookie"]
            assert "Secure" in page.headers["set-cookie"]
            assert browser.get("/healthz").text == "ok\n"
            for path in ("/simulated/", "/simulated/phone/", "/simulated/wechat/connect/qrconnect"):
                assert browser.get(path).status_code == 404
        assert server.end() == 0


@pytest.mark.slow
def test_a_port_in_use_names_the_portal_and_nothing_is_served(tmp_path: Path) -> None:
    offset = free_offset()
    layout = found(tmp_path / "site", offset)
    with serving("serve", "--config", str(layout.config)) as first:
        first.wait_for("listening portal")
        text = layout.config.read_text()
        moved = text.replace('"127.0.0.1:', '"127.0.0.2:')
        layout.config.write_text(moved.replace(f"127.0.0.2:{8080 + offset}", f"127.0.0.1:{8080 + offset}"))
        with serving("serve", "--config", str(layout.config)) as second:
            second.wait_for("[portal] address: cannot listen on")
            second.process.wait(timeout=30)
            assert second.process.returncode == 78
            assert "listening" not in second.seen
        assert first.end() == 0
