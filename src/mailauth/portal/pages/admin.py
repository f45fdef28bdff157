"""All pages of administration. Rule: what an account's address goes on with comes before the account's own page."""

from __future__ import annotations

from mailauth.portal.guards import Page
from mailauth.portal.pages import (
    admin_account,
    admin_accounts,
    admin_audit,
    admin_deeds,
    admin_domains,
    admin_forms,
    admin_policy,
    admin_report,
    admin_settings,
    admin_site,
    admin_throttle,
)

PAGES: tuple[Page, ...] = (
    *admin_accounts.PAGES,
    *admin_settings.PAGES,
    *admin_policy.PAGES,
    *admin_forms.PAGES,
    *admin_deeds.PAGES,
    *admin_account.PAGES,
    *admin_domains.PAGES,
    *admin_site.PAGES,
    *admin_report.PAGES,
    *admin_throttle.PAGES,
    *admin_audit.PAGES,
)
