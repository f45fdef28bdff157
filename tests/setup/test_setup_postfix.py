"""Postfix's main.cf and master.cf, edited by its own postconf: what changes, and what never does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from asking import Asking

from mailauth.setup import postfix
from mailauth.setup.plan import CannotSetUp, Plan

PAGE = Path(__file__).parents[2] / "docs" / "hosts" / "postfix.md"
POSTCONF = shutil.which("postconf", path="/usr/sbin:/usr/bin")
needs_postfix = pytest.mark.skipif(POSTCONF is None, reason="postfix is not installed")
PORT_25 = "smtp      inet  n       -       y       -       -       smtpd\n"
MAIN = "compatibility_level = 3.6\nqueue_directory = /var/spool/postfix\nsmtpd_tls_cert_file = none\n"
OTHERS = "smtp unix - - y - - smtp\npickup unix n - y 60 1 pickup\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration without submission."""
    place = tmp_path / "postfix"
    place.mkdir()
    (place / "main.cf").write_text(MAIN)
    (place / "master.cf").write_text(PORT_25 + OTHERS)
    return place


def planned(asking: Asking, folder: Path, *submissions: str, address: str = "") -> tuple[Plan, str, str]:
    """The plan, and both files as they are to be."""
    plan = postfix.plan(asking(folder, address=address), submissions)
    main, master = plan.files
    return plan, main.text, master.text


def owned(master: str, service: str) -> dict[str, str]:
    """What a service of master.cf has of its own."""
    lines = re.search(rf"^{re.escape(service)}\s+inet .*\n((?:\s+-o .*\n)*)", master, re.MULTILINE)
    assert lines is not None, master
    return dict(line.strip().removeprefix("-o ").split("=", 1) for line in lines[1].splitlines())


@needs_postfix
def test_submission_is_added_in_the_chroot_of_the_others_and_port_25_is_left_alone(
    asking: Asking, folder: Path
) -> None:
    plan, main, master = planned(asking, folder)
    assert "in its chroot" in plan.host
    assert master.startswith(PORT_25 + OTHERS)
    assert owned(master, "smtp") == {}
    assert owned(master, "submission")["smtpd_sasl_auth_enable"] == "yes"
    assert owned(master, "submissions")["smtpd_tls_wrappermode"] == "yes"
    assert "smtpd_sasl_path = private/mailauth\n" in main
    assert "smtpd_sasl_auth_enable" not in main
    assert plan.table is not None
    assert plan.table.keys == {"socket_group": "postfix", "services": ["smtp"], "slots": 200}
    assert any("no certificate" in step for step in plan.to_do)


@needs_postfix
def test_auth_at_port_25_is_switched_off_wherever_it_was_on(asking: Asking, folder: Path) -> None:
    main, master = folder / "main.cf", folder / "master.cf"
    main.write_text(MAIN + "smtpd_sasl_auth_enable = yes\n")
    master.write_text(
        PORT_25 + "  -o smtpd_sasl_auth_enable=yes\n2525 inet n - n - 7 smtpd\n  -o smtpd_sasl_auth_enable=yes\n"
    )
    plan, main_text, master_text = planned(asking, folder)
    assert "smtpd_sasl_auth_enable = no\n" in main_text
    assert owned(master_text, "smtp") == {}
    assert owned(master_text, "2525") == {"smtpd_sasl_auth_enable": "yes"}
    assert any("ask mailauth from now on: 2525." in step for step in plan.to_do)


@needs_postfix
def test_who_had_auth_by_main_cf_and_has_it_no_more_is_told(asking: Asking, folder: Path) -> None:
    (folder / "main.cf").write_text(MAIN + "smtpd_sasl_auth_enable = yes\n")
    (folder / "master.cf").write_text(PORT_25 + "587 inet n - n - - smtpd\n2525 inet n - n - - smtpd\n")
    said = planned(asking, folder)[0].to_do
    assert any("had AUTH by main.cf, and have it no more: 2525;" in step for step in said)


@needs_postfix
def test_what_a_service_has_of_its_own_does_not_outweigh_us_and_the_rest_stays(asking: Asking, folder: Path) -> None:
    (folder / "master.cf").write_text(
        PORT_25 + "587 inet n - n - 30 smtpd\n  -o smtpd_sasl_type=cyrus\n  -o smtpd_sasl_path=private/auth\n"
        "  -o smtpd_relay_restrictions=permit_mynetworks,reject\n  -o content_filter=scan\n"
        "  -o smtpd_end_of_data_restrictions=reject_x\n"
    )
    plan, _, master = planned(asking, folder)
    assert owned(master, "587") == {
        "smtpd_relay_restrictions": "permit_mynetworks,reject",
        "content_filter": "scan",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_end_of_data_restrictions": "check_policy_service,unix:private/mailauth-policy,reject_x",
    }
    assert plan.table is not None
    assert plan.table.keys["slots"] == 30
    assert "no chroot" in plan.host


@needs_postfix
def test_what_main_cf_asks_before_a_message_is_asked_of_submission_too(asking: Asking, folder: Path) -> None:
    quota = "check_policy_service { inet:127.0.0.1:12340, timeout=10s },\n  reject_x"
    (folder / "main.cf").write_text(f"{MAIN}smtpd_end_of_data_restrictions = {quota}\n")
    (folder / "master.cf").write_text(PORT_25 + "587 inet n - n - - smtpd\n")
    _, main, master = planned(asking, folder)
    assert owned(master, "587")["smtpd_end_of_data_restrictions"] == (
        "check_policy_service,unix:private/mailauth-policy,check_policy_service,{,inet:127.0.0.1:12340,timeout=10s,},"
        "reject_x"
    )
    assert quota in main
    assert owned(master, "smtp") == {}
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text(master)
    assert all(file.is_there for file in planned(asking, folder)[0].files)


@needs_postfix
def test_a_second_time_nothing_changes(asking: Asking, folder: Path) -> None:
    _, main, master = planned(asking, folder)
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text(master)
    plan, _, _ = planned(asking, folder)
    assert all(file.is_there for file in plan.files)


@needs_postfix
def test_what_postfix_itself_makes_of_it(asking: Asking, folder: Path) -> None:
    _, main, master = planned(asking, folder)
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text(master)
    done = subprocess.run([str(POSTCONF), "-c", folder, "-n"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "smtpd_sasl_type = dovecot" in done.stdout


@needs_postfix
@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("127.0.0.1:12345", "inet:127.0.0.1:12345"),
        ("unix:/var/spool/postfix/run/x", "run/x"),
    ],
)
def test_another_address(asking: Asking, folder: Path, address: str, path: str) -> None:
    plan, main, _ = planned(asking, folder, address=address)
    assert f"smtpd_sasl_path = {path}\n" in main
    assert plan.table is not None
    assert ("socket_group" in plan.table.keys) == address.startswith("unix:")
    assert [table.address for table in plan.beside] == ([f"{address}-policy"] if address.startswith("unix:") else [])


@needs_postfix
def test_a_socket_outside_of_the_chroot_is_no_place(asking: Asking, folder: Path) -> None:
    with pytest.raises(CannotSetUp, match="runs in the chroot /var/spool/postfix"):
        planned(asking, folder, address="unix:/run/mailauth/postfix")
    (folder / "master.cf").write_text(PORT_25.replace(" y ", " n "))
    assert (
        "smtpd_sasl_path = /run/mailauth/postfix\n" in planned(asking, folder, address="unix:/run/mailauth/postfix")[1]
    )


@pytest.mark.parametrize("name", ["smtp", "25", "192.0.2.1:25", "mx:smtp"])
def test_port_25_is_no_submission(asking: Asking, tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotSetUp, match="port 25"):
        postfix.plan(asking(tmp_path), (name,))


@needs_postfix
def test_what_is_not_there_is_told(asking: Asking, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotSetUp, match="no service 10587"):
        planned(asking, folder, "10587")
    with pytest.raises(CannotSetUp, match="--config-dir"):
        planned(asking, tmp_path / "nowhere")


def test_elsewhere_it_is_what_the_page_has(asking: Asking) -> None:
    page = PAGE.read_text()
    plan = postfix.plan(asking(version="3.8.1"), ("submission", "submissions"))
    assert plan.table is not None
    tables = "\n".join([table.text for table in (plan.table, *plan.beside)])
    assert re.findall(r"^```toml\n(.*?)^```$", page, re.M | re.S) == [tables]
    assert re.findall(r"^smtpd_.* = .*$", page, re.M) == re.findall(r"postconf -e '(.*)'", "\n".join(plan.commands))
    (master,) = re.findall(r"master.cf`:\n\n```\n(.*?)^```$", page, re.M | re.S)
    for service in ("submission", "submissions"):
        written = [f"{service}/inet/{name}={value}" for name, value in owned(master, service).items()]
        assert re.findall(rf"postconf -P '({service}/.*)'", "\n".join(plan.commands)) == written[1:]
        assert written[0] == f"{service}/inet/syslog_name=postfix/{service}"
    assert plan.ours[0].text.endswith(plan.beside[0].text)


@pytest.mark.parametrize("address", ["", "unix:/run/mailauth/postfix", "10.0.0.1:12345"])
def test_elsewhere_what_is_said_is_of_the_address(asking: Asking, address: str) -> None:
    said = "\n".join(postfix.plan(asking(version="3.8.1", address=address)).to_do)
    is_tcp = address == "10.0.0.1:12345"
    assert ("nothing is encrypted" in said, "not set up to ask before it takes a message" in said) == (is_tcp, is_tcp)
    assert ("UNIX socket" in said, "smtpd_end_of_data_restrictions" in said) == (not is_tcp, not is_tcp)


@needs_postfix
def test_what_is_less_by_tcp_is_told(asking: Asking, folder: Path) -> None:
    told = "not set up to ask before it takes a message"
    assert not any(told in step for step in planned(asking, folder)[0].to_do)
    assert any(told in step for step in planned(asking, folder, address="127.0.0.1:12345")[0].to_do)


def test_elsewhere_it_is_commands(asking: Asking) -> None:
    plan = postfix.plan(asking(version="3.8.1", address="10.0.0.1:12345"))
    assert "postconf -e 'smtpd_sasl_path = inet:10.0.0.1:12345'" in plan.commands
    assert "postconf -P 'submission/inet/smtpd_sasl_auth_enable=yes'" in plan.commands
    assert "postconf -e 'smtpd_sasl_auth_enable = no'" in plan.commands
    assert plan.is_elsewhere
    with pytest.raises(CannotSetUp, match=r"older than 2\.11"):
        postfix.plan(asking(version="2.10.1"))
