"""`mailauth account`: who has mail here, and who gets in with what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from mailauth.accounts import aliases
from mailauth.accounts import mailboxes as use
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.observations import ObservationView, observed, observed_everywhere, sentence
from mailauth.accounts.roleholders import set_role
from mailauth.accounts.roles import Role
from mailauth.cli import effects, options, passwords, showing
from mailauth.cli.opening import Site, actor, hasher, site
from mailauth.store.changes import Effect
from mailauth.store.observations import Kind


@click.group("account", short_help="Add, change, show, list or remove accounts.")
def command() -> None:
    """Accounts: one mailbox each, whose login is the whole mail address."""


@command.command("add")
@click.argument("address")
@options.password_stdin
@click.option("--no-password", is_flag=True, help="Without a web password; `account passwd` sets one later.")
@options.config
@options.as_json
def add(address: str, password_stdin: bool, no_password: bool, config_file: str | None, as_json: bool) -> None:
    """Add an account, and its domain if that is new. The web password is asked for, unless told otherwise.

    A new account has client logon and all services on, and its mode off: mail programs get in with the web password
    and with app passwords. `account set ADDRESS --mode on` makes that app passwords only.

    \b
    Examples:
      mailauth account add alice@example.com
      mailauth account add alice@example.com --password-stdin < password.txt
    """
    if password_stdin and no_password:
        raise click.UsageError("--password-stdin and --no-password exclude each other")
    with site(config_file) as here:
        record = None if no_password else _new_record(here, from_stdin=password_stdin)
        added = use.add_account(here.store, address, record, actor=actor())
    domain = added.login.rpartition("@")[2]
    if as_json:
        showing.print_json({"login": added.login, "domain": domain, "domain_added": added.domain_added})
        return
    if added.domain_added:
        click.echo(f"added domain {domain}, which is new")
    click.echo(f"added account {added.login}")


@command.command("set")
@click.argument("address")
@options.switch("--mode", "on: mail programs get in with app passwords only. off: with the web password too.")
@options.switch("--client-logon", "Whether mail programs get in at all.")
@options.choice("--role", *Role, meaning="What it may do at the web portal to other accounts.")
@click.option("--domain", "domains", multiple=True, metavar="NAME", help="With --role domain-admin; may be repeated.")
@options.policy
@options.service_switches
@options.config
@options.as_json
def set_(
    *,
    address: str,
    role: str | None,
    domains: tuple[str, ...],
    config_file: str | None,
    as_json: bool,
    **written: Any,
) -> None:
    """Change an account, and show it as it is then.

    \b
    Examples:
      mailauth account set alice@example.com --mode on
      mailauth account set alice@example.com --pop3 off --max-app-passwords 5
      mailauth account set alice@example.com --role domain-admin --domain example.com
    """
    if domains and role != Role.DOMAIN_ADMIN:
        raise click.UsageError("--domain goes with --role domain-admin")
    with site(config_file) as here:
        effect = Effect()
        if role is None or any(value is not None for value in written.values()):
            change = AccountChange(**options.changes(here.timezone, **written))
            use.set_account(here.store, address, change, actor=actor(), effect=effect)
        if role is not None:
            set_role(here.store, address, Role(role), domains, actor=actor())
        showing.print_view(use.show_account(here.store, address), as_json)
    effects.warn(effect) if as_json else effects.say(effect)


@command.command("show")
@click.argument("address")
@options.config
@options.as_json
def show(address: str, config_file: str | None, as_json: bool) -> None:
    """Show one account: what is stored, and what counts once site and domain have had their say.

    \b
    Example:
      mailauth account show alice@example.com
    """
    with site(config_file) as here:
        showing.print_view(use.show_account(here.store, address), as_json)


@command.command("list")
@click.option("--domain", metavar="NAME", help="Only those of this domain.")
@options.config
@options.as_json
def list_(domain: str | None, config_file: str | None, as_json: bool) -> None:
    """List accounts.

    \b
    Example:
      mailauth account list --domain example.com
    """
    columns = ("login", "enabled", "client_logon", "services", "mode", "effective_mode", "app_passwords")
    with site(config_file) as here:
        found = use.list_accounts(here.store, domain)
        showing.print_views(found, columns, as_json, "no accounts: `mailauth account add` adds one")


@command.command("passwd")
@click.argument("address")
@options.password_stdin
@click.option("--keep-app-passwords", is_flag=True, help="Leave the app passwords as they are.")
@click.option("--to-sources", is_flag=True, help="Take it away: from now on the sources of [sources] judge it.")
@options.config
def passwd(
    *, address: str, password_stdin: bool, keep_app_passwords: bool, to_sources: bool, config_file: str | None
) -> None:
    """Set another web password. All app passwords of the account are revoked, unless told otherwise.

    No source of web passwords is asked about it then; --to-sources is the way back, and leaves app passwords alone.

    \b
    Example:
      mailauth account passwd alice@example.com
    """
    if to_sources:
        if password_stdin:
            raise click.UsageError("--to-sources and --password-stdin exclude each other")
        _leave_to_sources(address, config_file)
        return
    with site(config_file) as here:
        use.show_account(here.store, address)  # nobody should have to think of a password for nothing
        record = _new_record(here, from_stdin=password_stdin or not passwords.at_terminal())
        effect = Effect()
        count = use.set_web_password(here.store, address, record, keep_app_passwords, actor=actor(), effect=effect)
    kept = "app passwords stay as they are" if keep_app_passwords else f"app passwords revoked: {count}"
    click.echo(f"web password changed; {kept}")
    effects.say(effect)


def _leave_to_sources(address: str, config_file: str | None) -> None:
    with site(config_file) as here:
        if not here.settings.sources:
            raise click.UsageError("--to-sources: the configuration names no source")
        effect = Effect()
        use.leave_to_sources(here.store, address, actor=actor(), effect=effect)
    click.echo("web password taken away; the sources judge it from now on")
    effects.say(effect)


@command.command("export")
@click.argument("address")
@options.config
def export(address: str, config_file: str | None) -> None:
    """Print everything that is kept about an account and its owner, as JSON; its mail is not in it, and nothing that
    opens anything. The owner is told.

    \b
    Example:
      mailauth account export alice@example.com > alice.json
    """
    from mailauth.accounts import erasure  # noqa: PLC0415  other commands need not wait for it

    with site(config_file) as here:
        showing.print_json(erasure.exported(here.store, address, actor=actor()))


@command.command("remove")
@click.argument("address")
@click.option("--erase", is_flag=True, help="Forget its history too; what was changed is known by a random name then.")
@options.config
def remove(address: str, erase: bool, config_file: str | None) -> None:
    """Remove an account with its app passwords and aliases. Its mail, and what the audit log says of it, stay.

    \b
    Examples:
      mailauth account remove alice@example.com
      mailauth account remove alice@example.com --erase
    """
    from mailauth.accounts import erasure  # noqa: PLC0415

    with site(config_file) as here:
        effect = Effect()
        if erase:
            known_as = erasure.erase(here.store, address, actor=actor(), effect=effect)
        else:
            known_as = ""
            use.remove_account(here.store, address, actor=actor(), effect=effect)
    click.echo(f"removed account {address}" + (f", which the audit log knows as {known_as} now" if erase else ""))
    effects.say(effect)


@command.command("alias-add")
@click.argument("address")
@click.argument("alias")
@options.config
def alias_add(address: str, alias: str, config_file: str | None) -> None:
    """Give an account another address: it receives mail at it and may send as it.

    \b
    Example:
      mailauth account alias-add alice@example.com postmaster@example.com
    """
    with site(config_file) as here:
        added = aliases.add_alias(here.store, address, alias, actor=actor())
    click.echo(f"added alias {added}")


@command.command("alias-remove")
@click.argument("alias")
@options.config
def alias_remove(alias: str, config_file: str | None) -> None:
    """Take an alias away from whoever has it.

    \b
    Example:
      mailauth account alias-remove postmaster@example.com
    """
    with site(config_file) as here:
        login = aliases.remove_alias(here.store, alias, actor=actor())
    click.echo(f"removed alias {alias} of {login}")


@command.command("observations")
@click.argument("address", required=False)
@click.option("--all", "every", is_flag=True, help="Of every account.")
@click.option("--domain", metavar="NAME", help="Of every account of this domain.")
@options.choice("--kind", *Kind, meaning="Only these.")
@options.config
@options.as_json
@click.option("--json-lines", is_flag=True, help="Export: a JSON object for each program, on a line of its own.")
def observations(
    *,
    address: str | None,
    every: bool,
    domain: str | None,
    kind: str | None,
    config_file: str | None,
    as_json: bool,
    json_lines: bool,
) -> None:
    """Tell what programs of an account should be set up anew: where from, what they call themselves, when last seen.

    web-password-refused: a program that sends no app password where nothing else gets in. deleted-app-password: one
    that still sends a deleted one. would-break: one that gets in with the web password, and will not once the policy
    that is only observed now is enforced.

    \b
    Examples:
      mailauth account observations alice@example.com
      mailauth account observations --all --kind would-break --json-lines
    """
    if (address is not None) + every + (domain is not None) != 1:
        raise click.UsageError("say whose: ADDRESS, --domain or --all, one of the three")
    chosen = None if kind is None else Kind(kind)
    with site(config_file) as here:
        if address is None:
            found = observed_everywhere(here.store, kind=chosen, domain=domain)
        else:
            found = (view for view in observed(here.store, address) if chosen in {None, view.kind})
        if json_lines:
            showing.print_json_lines(found)
        elif as_json:
            showing.print_json_array(found)
        else:
            _tell(found, of_many=address is None)


def _tell(found: Iterable[ObservationView], *, of_many: bool) -> None:
    nothing = True
    for view in found:
        nothing = False
        click.echo(showing.printed(f"{view.login}: {sentence(view)}" if of_many else sentence(view)))
    if nothing:
        click.echo("nothing of that has been seen", err=True)


def _new_record(here: Site, *, from_stdin: bool) -> str:
    return hasher(here.settings).hash(passwords.new(from_stdin=from_stdin))
