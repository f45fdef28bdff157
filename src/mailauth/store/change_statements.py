"""The statements of the numbered changes and of the processes that apply them; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from mailauth.store.schema import answers, app_passwords, change_counter, changes, processes

_ZERO: Any = literal_column("0")
_ONE: Any = literal_column("1")  # in the text itself, where SQLAlchemy would otherwise make a parameter

# PostgreSQL: the row stays locked until commit, so whoever sees a number sees all changes up to it.
NEXT_NUMBER = update(change_counter).values(number=change_counter.c.number + _ONE)
CHANGE_NUMBER = select(change_counter.c.number)
LOCK_CHANGE_NUMBER = CHANGE_NUMBER.with_for_update()
SET_CHANGE_NUMBER = update(change_counter).values(number=bindparam("number"))

ADD_CHANGE = (
    insert(changes)
    .inline()
    .values({name: bindparam(name) for name in ("number", "token", "at", "kind", "account_id", "domain_id", "takes")})
)
CHANGE_BY_TOKEN = select(changes.c.number).where(changes.c.token == bindparam("token"))
CHANGES_AFTER = (
    select(changes.c.number, changes.c.kind, changes.c.account_id, changes.c.domain_id, changes.c.takes)
    .where(changes.c.number > bindparam("after"))
    .order_by(changes.c.number)
    .limit(bindparam("page"))
    .offset(_ZERO)
)
PRUNE_CHANGES = delete(changes).where(changes.c.at < bindparam("before"))

# The newest change, and how far this process says it is; NULL: it is not, or no more, among those waited for.
POLL = select(
    change_counter.c.number,
    select(processes.c.applied).where(processes.c.id == bindparam("process_id")).scalar_subquery().label("applied"),
)

PROCESSES = select(processes).order_by(processes.c.started_at, processes.c.id)
ADD_PROCESS = (
    insert(processes)
    .inline()
    .values({name: bindparam(name) for name in ("id", "host", "pid", "started_at", "applied")})
)
_known = update(processes).where(processes.c.id == bindparam("row_id"), processes.c.applied >= _ZERO)
SET_APPLIED = _known.values(applied=bindparam("applied"))
GIVE_PROCESS_UP = _known.where(processes.c.applied < bindparam("number")).values(applied=literal_column("-1"))
REMOVE_PROCESS = delete(processes).where(processes.c.id == bindparam("row_id"))
PRUNE_PROCESSES = delete(processes).where(processes.c.applied < _ZERO, processes.c.started_at < bindparam("before"))

ADD_ANSWER = (
    insert(answers).inline().values({name: bindparam(name) for name in ("number", "process_id", "ended", "report")})
)
ANSWERS = (
    select(answers)
    .where(answers.c.number >= bindparam("first"), answers.c.number <= bindparam("last"))
    .order_by(answers.c.number, answers.c.process_id)
)
DROP_ANSWERS = delete(answers).where(answers.c.number == bindparam("number"))
LABEL = select(app_passwords.c.id, app_passwords.c.label).where(app_passwords.c.id == bindparam("row_id"))
PRUNE_ANSWERS = delete(answers).where(answers.c.number.not_in(select(changes.c.number)))
