"""The pages, one module for each group; `PAGES` are all of them."""

from __future__ import annotations

from mailauth.accounts.freshproof import Act
from mailauth.portal.guards import Page
from mailauth.portal.pages import (
    activity,
    admin,
    admin_done,
    admin_words,
    enrol,
    generate,
    home,
    mode,
    notices,
    passwords,
    personal,
    proof,
    recovery,
    returning,
    second,
    security,
    sessions,
    signin,
    tokens,
    webpassword,
)

PAGES: tuple[Page, ...] = (
    *signin.PAGES,
    *second.PAGES,
    *returning.PAGES,
    *enrol.PAGES,
    *home.PAGES,
    *passwords.PAGES,
    *generate.PAGES,
    *mode.PAGES,
    *proof.PAGES,
    *security.PAGES,
    *sessions.PAGES,
    *activity.PAGES,
    *notices.PAGES,
    *webpassword.PAGES,
    *recovery.PAGES,
    *tokens.PAGES,
    *personal.PAGES,
    *admin.PAGES,
)
proof.PERFORM.update(
    {
        Act.APP_PASSWORD: generate.perform,
        Act.MODE_OFF: mode.perform,
        Act.FACTOR_ADD: enrol.perform,
        Act.RECOVERY_CODES: enrol.perform,
        Act.FACTOR_RENAME: security.rename,
        Act.FACTOR_REMOVE: security.remove,
        Act.RECOVERY_ADDRESS: recovery.perform,
        Act.API_TOKEN: tokens.perform,
        Act.EXPORT: personal.perform,
        Act.ADMINISTRATION: admin_done.perform,
    }
)
proof.LAST[Act.APP_PASSWORD] = generate.ask_name
proof.WORDS[Act.ADMINISTRATION] = admin_words.act_words
proof.WORDS[Act.API_TOKEN] = tokens.act_words
