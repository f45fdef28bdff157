"""`mailauth site`: the policy above all domains."""

from __future__ import annotations

from typing import Any

import click

from mailauth.accounts import site as use
from mailauth.accounts.changes import PolicyChange
from mailauth.cli import effects, options, showing
from mailauth.cli.opening import actor, site
from mailauth.store.changes import Effect


@click.group("site", short_help="Show or change the policy for everybody.")
def command() -> None:
    """The policy for all domains and accounts. Of site, domain and account, the strictest counts."""


@command.command("set")
@options.policy
@options.config
@options.as_json
def set_(config_file: str | None, as_json: bool, **written: Any) -> None:
    """Change the policy of the site, and show it as it is then.

    \b
    Example: from the first of March on, mail programs get in with app passwords only
      mailauth site set --policy enforced --enforce-from 2027-03-01
    """
    with site(config_file) as here:
        change = PolicyChange(**options.changes(here.timezone, **written))
        effect = Effect()
        showing.print_view(use.set_site(here.store, change, actor=actor(), effect=effect), as_json)
    effects.warn(effect) if as_json else effects.say(effect)


@command.command("show")
@options.config
@options.as_json
def show(config_file: str | None, as_json: bool) -> None:
    """Show the policy of the site.

    \b
    Example:
      mailauth site show
    """
    with site(config_file) as here:
        showing.print_view(use.show_site(here.store), as_json)
