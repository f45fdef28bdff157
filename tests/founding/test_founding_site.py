"""What a new site consists of, and that nothing half-written is ever left."""

from __future__ import annotations

import errno
import shutil
import stat
from pathlib import Path

import pytest

from mailauth import config
from mailauth.accounts.site import show_site
from mailauth.config.settings import Policy
from mailauth.founding import site as founding
from mailauth.founding.ports import MAX_PORT_OFFSET
from mailauth.founding.site import AlreadyThere, CannotWrite, Layout, found
from mailauth.founding.stores import create_store
from mailauth.interfaces import PolicyLevel, StoreUnavailable
from mailauth.keys import KeyRing
from mailauth.serving.tls import server_context
from mailauth.store.engine import Store, open_store
from mailauth.store.keycheck import require_key
from mailauth.store.upgrade import create, require_current


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return found(tmp_path_factory.mktemp("site"))


def test_everything_that_is_written_fits_together(layout: Layout) -> None:
    settings = config.load(layout.config)
    store = open_store(settings.store.url)
    require_current(store)
    require_key(store, KeyRing.load(settings.key.file))
    assert settings.tls is not None
    server_context(settings.tls.certificate, settings.tls.key)
    assert [(str(listen.service), listen.tls, str(listen.address)) for listen in settings.listen] == [
        ("imap", "implicit", "127.0.0.1:1993"),
        ("imap", "starttls", "127.0.0.1:1143"),
        ("pop3", "implicit", "127.0.0.1:1995"),
        ("pop3", "starttls", "127.0.0.1:1110"),
        ("smtp", "implicit", "127.0.0.1:1465"),
        ("smtp", "starttls", "127.0.0.1:1587"),
    ]


def test_what_is_secret_is_its_owners_alone(layout: Layout) -> None:
    for path in (layout.keys, layout.certificate_key, layout.store):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert set(layout.folder.iterdir()) == set(layout.all)


def test_the_folder_may_be_moved_as_a_whole(layout: Layout, tmp_path: Path) -> None:
    shutil.copytree(layout.folder, tmp_path / "moved")
    settings = config.load(tmp_path / "moved" / "mailauth.toml")
    assert settings.key.file == tmp_path / "moved" / "mailauth.keys"
    require_current(open_store(settings.store.url))


def test_an_offset_moves_every_port(tmp_path: Path) -> None:
    settings = config.load(found(tmp_path / "a" / "b", MAX_PORT_OFFSET).config)
    assert sorted(listen.address.port - MAX_PORT_OFFSET for listen in settings.listen) == [
        *(1110, 1143, 1465, 1587, 1993, 1995)
    ]
    assert settings.portal is not None
    assert settings.portal.address.port == 65535
    assert settings.portal.public_url == "http://localhost:65535"


@pytest.mark.parametrize(
    "name", ["mailauth.toml", "mailauth.keys", "mailauth.db", "ca.pem", "server.pem", "server.key"]
)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(AlreadyThere, match=rf"{name} is there already and is left as it is"):
        found(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mailauth.keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyThere):
        found(tmp_path / "site")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("step", ["certificates.make", "KeyRing.create", "create_store", "configuration"])
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a" / "b"))

    monkeypatch.setattr(f"mailauth.founding.site.{step}", full)
    with pytest.raises(CannotWrite, match="No space left on device; nothing was written"):
        found(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_made_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    monkeypatch.setattr(founding, "create_store", unavailable)
    with pytest.raises(StoreUnavailable, match="disk I/O error; nothing was written"):
        found(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(founding, "configuration", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=rf"{tmp_path}/file/site: Not a directory; nothing was written; choose"):
        found(tmp_path / "file" / "site")


def test_the_configuration_gives_a_new_store_its_first_policy(store_file: Store, ring: KeyRing) -> None:
    policy = Policy(policy=PolicyLevel.ENFORCED, two_factor="required", max_app_passwords=5)
    create_store(store_file, ring, policy)
    view = show_site(store_file)
    assert (view.policy, view.two_factor, view.max_app_passwords) == ("enforced", True, 5)


def test_what_stands_at_its_default_is_left_to_domains_and_accounts(store_file: Store, ring: KeyRing) -> None:
    create_store(store_file, ring, Policy())
    view = show_site(store_file)
    assert (view.policy, view.two_factor, view.max_app_passwords) == ("optional", False, None)


@pytest.fixture
def store_file(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path / 'mailauth.db'}")


def test_a_store_that_is_there_is_not_made_again(store_file: Store, ring: KeyRing) -> None:
    create(store_file, ring)
    with pytest.raises(Exception, match="is a mailauth store already"):
        create_store(store_file, ring, Policy(max_app_passwords=3))
    assert show_site(store_file).max_app_passwords is None
