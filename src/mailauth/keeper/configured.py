"""The back ends and doveadms that the configuration names, put together.

Rule: wiring only. Their secrets are read in `open_keeper` alone, which runs in the keeper's process and nowhere else.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address

from mailauth.attempt import Service
from mailauth.backends.backend import Backend, Routes, build, routes
from mailauth.config import ConfigError, Settings
from mailauth.config.bridge import Bridge
from mailauth.config.plugged import Plugged
from mailauth.config.values import Secret
from mailauth.factors.section import BadSection, Section
from mailauth.gateways.doveadm import Doveadm
from mailauth.keeper.keeper import Keeper, Kept
from mailauth.sources.parts import client_tls

DOVEADM_URL, DOVEADM_KEY = "doveadm_url", "doveadm_key"
BEHIND_US = "backend"  # the [mailbox] kind

log = logging.getLogger(__name__)


def is_needed(settings: Settings) -> bool:
    """Whether there is anything to keep."""
    return settings.mailbox.kind == BEHIND_US or bool(doveadms_of(settings))


def backends_of(settings: Settings) -> Routes:
    """The back ends and whose they are. Reads no secret. Raises ConfigError."""
    built = [_built(written) for written in settings.backends]
    try:
        found = routes(built)
    except BadSection as bad:
        raise ConfigError(f"{settings.source}: [backends.{bad.key}: {bad}") from None
    if settings.mailbox.kind == BEHIND_US:
        _require_all(settings, found)
    elif settings.backends:
        raise ConfigError(f'{settings.source}: [mailbox] kind: must be "backend" where there are [backends.NAME]')
    return found


def doveadms_of(settings: Settings) -> dict[str, tuple[str, Secret]]:
    """By the bridge's name: the URL, and where the key is."""
    found = {}
    for written in settings.bridge:
        url, secret = written.options.options.get(DOVEADM_URL), written.options.secrets.get(DOVEADM_KEY)
        if url and secret is not None:
            found[bridge_name(written)] = (str(url), secret)
    return found


def bridge_name(written: Bridge) -> str:
    """By which the keeper knows a bridge."""
    return f"{written.kind} {written.address}"


def open_keeper(settings: Settings) -> Keeper:
    """Reads the secrets. Raises ConfigError."""
    found = backends_of(settings)
    every = {backend.name: backend for service in Service for backend in found.all(service)}
    kept = {plugged.name: _kept(plugged, every[plugged.name], settings) for plugged in settings.backends}
    doveadms = {name: Doveadm(url, secret.read()) for name, (url, secret) in doveadms_of(settings).items()}
    return Keeper(found, kept, doveadms, settings.submission.greeting_name)


def check_behind(settings: Settings) -> None:
    """Raise ConfigError unless a keeper could begin. Of one with a user of its own, the secrets are not looked at."""
    if settings.keeper.address is None:
        open_keeper(settings)
    else:
        backends_of(settings)


def _require_all(settings: Settings, found: Routes) -> None:
    for number, listen in enumerate(settings.listen, start=1):
        if not found.all(listen.service):
            raise ConfigError(
                f"{settings.source}: [listen] #{number} service: no [backends.NAME] has {listen.service}; "
                f'write {listen.service} = "HOST:PORT" into one of them'
            )


def _built(written: Plugged) -> Backend:
    for key, kept in written.secrets.items():
        if kept.source.startswith("env:"):
            raise ConfigError(
                f"{written.where} {key}_file: must be a file: a variable would be the whole server's, and this is for "
                "the keeper alone"
            )
    try:
        return build(written.name, Section({**written.options, **written.secrets}, {"name": written.name}))
    except BadSection as bad:
        raise ConfigError(f"{written.where} {bad.key}: {bad}") from None


def _kept(written: Plugged, backend: Backend, settings: Settings) -> Kept:
    password = backend.password.read() if backend.password is not None else ""
    if backend.tls == "off":
        for service in Service:
            where = backend.address(service)
            if where is not None and not _is_here(where[0]):
                log.warning("%s tls: is off, so passwords and mail go in clear to %s", written.where, where[0])
        return Kept(backend, password)
    try:
        context = client_tls(backend.tls_ca, settings.source.parent)
    except BadSection as bad:
        raise ConfigError(f"{written.where} tls_{bad.key}: {bad}") from None
    if not backend.tls_verify:
        import ssl  # noqa: PLC0415

        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        log.warning("%s tls_verify: is false, so anybody between may read passwords and mail", written.where)
    return Kept(backend, password, context)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
