"""`mailauth domain`: the domains whose mail is ours."""

from __future__ import annotations

from typing import Any

import click

from mailauth.accounts import domains as use
from mailauth.accounts.changes import DomainChange
from mailauth.cli import effects, options, showing
from mailauth.cli.opening import actor, site
from mailauth.store.changes import Effect


@click.group("domain", short_help="Add, change, show, list or remove domains.")
def command() -> None:
    """The domains whose mail is ours. `mailauth account add` adds the domain of a new account by itself."""


@command.command("add")
@click.argument("name")
@options.config
def add(name: str, config_file: str | None) -> None:
    """Add a domain, with everything on.

    \b
    Example:
      mailauth domain add example.com
    """
    with site(config_file) as here:
        click.echo(f"added domain {use.add_domain(here.store, name, actor=actor())}")


@command.command("set")
@click.argument("name")
@options.policy
@options.service_switches
@options.config
@options.as_json
def set_(name: str, config_file: str | None, as_json: bool, **written: Any) -> None:
    """Change a domain, and show it as it is then. A service is on for an account if it is on for its domain too.

    \b
    Example:
      mailauth domain set example.com --policy observe --pop3 off
    """
    with site(config_file) as here:
        change = DomainChange(**options.changes(here.timezone, **written))
        effect = Effect()
        showing.print_view(use.set_domain(here.store, name, change, actor=actor(), effect=effect), as_json)
    effects.warn(effect) if as_json else effects.say(effect)


@command.command("show")
@click.argument("name")
@options.config
@options.as_json
def show(name: str, config_file: str | None, as_json: bool) -> None:
    """Show one domain.

    \b
    Example:
      mailauth domain show example.com
    """
    with site(config_file) as here:
        showing.print_view(use.show_domain(here.store, name), as_json)


@command.command("list")
@options.config
@options.as_json
def list_(config_file: str | None, as_json: bool) -> None:
    """List all domains.

    \b
    Example:
      mailauth domain list --json
    """
    columns = ("name", "enabled", "imap", "pop3", "smtp", "policy", "two_factor", "accounts")
    with site(config_file) as here:
        showing.print_views(
            use.list_domains(here.store), columns, as_json, "no domains: `mailauth domain add` adds one"
        )


@command.command("remove")
@click.argument("name")
@click.option("--with-accounts", is_flag=True, help="Its accounts and their app passwords go too.")
@options.config
def remove(name: str, with_accounts: bool, config_file: str | None) -> None:
    """Remove a domain. Its mail, and what the audit log says of it, stay.

    \b
    Example:
      mailauth domain remove example.com --with-accounts
    """
    with site(config_file) as here:
        effect = Effect()
        count = use.remove_domain(here.store, name, with_accounts=with_accounts, actor=actor(), effect=effect)
    click.echo(f"removed domain {name}" + (f" and its {count} accounts" if count else ""))
    effects.say(effect)
