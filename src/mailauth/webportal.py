"""The web portal, put together from settings: its factors, its pages, and the socket that it is served on.

Rule: wiring only, like `assembly`, upon whose Core it stands. What starlette and uvicorn bring is loaded only here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from mailauth import plugins
from mailauth.accounts.connections import MailConnections
from mailauth.accounts.means import Means, Rules
from mailauth.attempt import Service
from mailauth.carriage import Carrier
from mailauth.config import ConfigError, Settings
from mailauth.config.plugged import Plugged
from mailauth.config.portal import Portal
from mailauth.factors.factor import Factor, Hashing
from mailauth.factors.section import BadSection, Section
from mailauth.plugins import NoSuchPlugin
from mailauth.serving.inherited import Inherited
from mailauth.serving.listen import CannotListen
from mailauth.store.engine import Store

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from mailauth.assembly import Core
    from mailauth.portal.house import House, MailServer
    from mailauth.portal.serving import PortalServer

T = TypeVar("T")
USUAL = ("totp", "webauthn", "recovery-codes")  # when the configuration names none
THREADS = 32  # use cases wait in them: for the store, for other processes to apply a change
RETURN = "/return"  # where providers send the browser back to

Around = Callable[["ASGIApp"], "ASGIApp"]


def factors_of(settings: Settings) -> dict[str, Factor]:
    """The factors that the configuration names, by name, in its order. Raises ConfigError."""
    if settings.portal is None:
        return {}
    gateways = {plugged.name: plugged for plugged in settings.gateways}
    chosen = settings.factors or tuple(
        [Plugged(name, f"{settings.source}: [factors.{name}]") for name in USUAL if _serves(name, settings.portal)]
    )
    return {plugged.name: _factor(plugged, settings.portal, gateways, settings.source) for plugged in chosen}


def _serves(name: str, portal: Portal) -> bool:
    """Whether a usual factor can be there: passkeys need their extra, and a name that is no address."""
    return name != "webauthn" or (importlib.util.find_spec("webauthn") is not None and not _is_address(portal.host))


def _factor(plugged: Plugged, portal: Portal, gateways: Mapping[str, Plugged], source: object) -> Factor:
    if plugged.name == "webauthn" and _is_address(portal.host):
        raise ConfigError(f"{source}: [portal] public_url: passkeys need a host name, and this is an address")
    values = plugged.values()
    wired: dict[str, object] = {
        "redirect_uri": f"{portal.public_url}{RETURN}/{plugged.name}",
        "rp_id": portal.host,
        "origins": (portal.public_url,),
    }
    if "gateway" in values:
        name = values.pop("gateway")
        if name not in gateways:
            raise ConfigError(f"{plugged.where} gateway: there is no table [gateways.{name}]")
        wired["gateway"] = _built("gateways", gateways[str(name)], {})
    elif plugged.name == "sms":
        raise ConfigError(
            f'{plugged.where} gateway: is missing; it names a table: gateway = "NAME" for [gateways.NAME]'
        )
    factor: Factor = _built("factors", plugged, wired, values)
    return factor


def _built(kind: str, plugged: Plugged, wired: Mapping[str, object], values: Mapping[str, object] | None = None) -> Any:
    try:
        return plugins.load(kind, plugged.name, Section(plugged.values() if values is None else values, wired))
    except BadSection as bad:
        raise ConfigError(f"{plugged.where} {bad.key}: {bad}") from None
    except NoSuchPlugin as missing:
        raise ConfigError(f"{plugged.where}: {missing}") from None


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class WebPortal:
    """The portal, or none. names: for the lines that say what listens."""

    server: PortalServer | None = None
    names: tuple[str, ...] = ()

    async def start(self) -> None:
        """Accept connections from now on."""
        if self.server is not None:
            await self.server.start()

    async def stop(self) -> None:
        """Accept no more, and give answers under way a little time."""
        if self.server is not None:
            await self.server.stop()


@asynccontextmanager
async def open_portal(
    core: Core,
    tls: ssl.SSLContext | None,
    carrier: Carrier | None,
    inherited: Inherited,
    around: Around = lambda app: app,
) -> AsyncIterator[WebPortal]:
    """The portal of the configuration, bound and not yet served. tls: of the mail services.

    inherited: sockets that are bound already. carrier: takes mail to owners; None: they are told on the portal only.
    around: puts something before it.
    Raises ConfigError, CannotListen.
    """
    portal = core.settings.portal
    if portal is None:
        yield WebPortal()
        return
    for module in ("starlette", "uvicorn", "jinja2", "httpx2", "segno"):
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"{core.settings.source}: [portal] needs its extra: pip install 'mailauth[portal]'")
    from mailauth.portal.app import portal as application  # noqa: PLC0415
    from mailauth.portal.serving import PortalServer  # noqa: PLC0415

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "mailauth"))
    async with AsyncExitStack() as stack:
        house = await _house(stack, core, portal, carrier)
        try:
            address = portal.address
            sock = inherited.taken_or_bound(address.host, address.port, reuse_port=portal.reuse_port)
        except CannotListen as error:
            raise CannotListen(f"{core.settings.source}: [portal] address: {error}") from None
        stack.callback(sock.close)
        app = around(application(house, portal.trusted_proxies))
        server = PortalServer(app, [sock], tls if portal.own_tls else None)
        yield WebPortal(server, (f"portal {portal.address} {portal.public_url}",))


async def _house(stack: AsyncExitStack, core: Core, portal: Portal, carrier: Carrier | None) -> House:
    from mailauth.gateways.http import Http  # noqa: PLC0415
    from mailauth.portal.house import House  # noqa: PLC0415
    from mailauth.portal.letters import Letters  # noqa: PLC0415
    from mailauth.portal.postman import Postman  # noqa: PLC0415
    from mailauth.portal.rendering import Rendering  # noqa: PLC0415

    settings = core.settings
    store = core.store.keeping()
    stack.callback(store.close)
    http = await stack.enter_async_context(Http())
    sender = (settings.submission.greeting_name, portal.mail_from, portal.language)
    letters = Letters(portal.site_name, portal.public_url, settings.policy.timezone, *sender)
    postman = Postman(store, letters, carrier)
    postman.start()
    stack.push_async_callback(postman.close)
    return House(
        means=means_of(core, portal, store),
        web_passwords=core.web_passwords,
        connections=MailConnections(store, core.sessions),
        send=http.send,
        rendering=Rendering(settings.policy.timezone, portal.site_name),
        origin=portal.public_url,
        servers=servers_of(settings),
        activity_days=settings.retention.audit_days,
        post=postman.post,
    )


def means_of(core: Core, portal: Portal, store: Store) -> Means:
    """What the use cases work with. To be called in the event loop, whose pool computes their hashes."""
    settings = core.settings
    rules = Rules(
        idle_s=portal.session_idle_s,
        session_s=portal.session_s,
        enrolment_days=portal.enrolment_days,
        two_factor_sets_mode=settings.policy.two_factor_sets_mode,
        alphabet=settings.policy.app_password_alphabet,
    )
    loop = asyncio.get_running_loop()

    def awaited(work: Awaitable[T]) -> T:
        """Use cases run in threads, and the pool belongs to the loop."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, loop)  # type: ignore[arg-type]
        return future.result()

    hashing = Hashing(
        lambda secret: awaited(core.pool.hash(secret)), lambda record, secret: awaited(core.pool.verify(record, secret))
    )
    return Means(store, core.keys.ring, factors_of(settings), hashing, rules)


def servers_of(settings: Settings) -> tuple[MailServer, ...]:
    """Where mail programs find the services, as the pages tell."""
    from mailauth.portal.house import MailServer  # noqa: PLC0415

    portal = settings.portal
    told: Iterable[tuple[Service, Any]] = [
        (service, portal.told(service, settings.listen)) for service in Service if portal is not None
    ]
    return tuple([MailServer(str(service), at.host, at.port, at.implicit) for service, at in told if at is not None])
