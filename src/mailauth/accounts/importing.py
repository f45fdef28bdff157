"""Taking over the accounts of another mail system: with their hashes, which are replaced at the first good login.

Rule: an account that is there is left as it is, so an import that was interrupted, or whose bad lines were mended, is
simply run again. Nothing is passed over in silence. A password in clear is hashed before it is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from mailauth import names
from mailauth.accounts.aliases import added_alias
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.finding import locked_account_row
from mailauth.accounts.mailboxes import added_account, changed_account
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.attempt import Service
from mailauth.hashing import legacy, records
from mailauth.hashing.scheme import unwrap
from mailauth.imports.entry import Alias, Entry, Item, LeftOut, Unread
from mailauth.interfaces import BadRecord
from mailauth.passwdfile import with_scheme
from mailauth.store.engine import Store
from mailauth.store.faults import Clash

BATCH = 200  # accounts in one transaction
IN_CLEAR = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})
WEAK = frozenset({*legacy.DIGESTS, "MD5-CRYPT", "DES-CRYPT", "DES", "MD5 (apr1)"})  # guessed in no time once they leak

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Finding:
    """What somebody should know of one place. login: "" where there is none."""

    place: str
    login: str
    what: str


@dataclass(slots=True)
class Report:
    """What became of it. there: accounts that were there already; schemes: of the hashes that came, by name."""

    dry_run: bool
    added: int = 0
    there: int = 0
    aliases: int = 0
    bad: list[Finding] = field(default_factory=list)
    left_out: list[Finding] = field(default_factory=list)
    schemes: Counter[str] = field(default_factory=Counter)

    @property
    def weak(self) -> dict[str, int]:
        """How many hashes came that are guessed in no time once they leak, by scheme."""
        return {scheme: count for scheme, count in self.schemes.items() if scheme in WEAK}


@dataclass(frozen=True, slots=True)
class Import:
    """One import. hashed: makes a record of a password in clear. default_scheme: of hashes without a {SCHEME}, or "".

    without_password: an account whose hash cannot be used is added without a web password. progress: told how many
    accounts have been looked at.
    """

    store: Store
    hashed: Callable[[bytes], str]
    actor: str
    default_scheme: str = ""
    without_password: bool = False
    dry_run: bool = False
    progress: Progress = lambda _: None

    def run(self, items: Iterable[Item]) -> Report:
        """Raises StoreUnavailable, and CommitUnknown: what was added before stays, and running it again goes on."""
        report = Report(self.dry_run)
        aliases: list[Alias] = []
        named: dict[str, str] = {}  # where each login was named first
        count = 0
        entries = self._entries(iter(items), report, aliases, named)
        while batch := list(islice(entries, BATCH)):
            self._add(batch, report)
            count += len(batch)
            self.progress(count)
        for alias in aliases:
            self._add_alias(alias, report, named)
        return report

    def _entries(
        self, items: Iterator[Item], report: Report, aliases: list[Alias], named: dict[str, str]
    ) -> Iterator[Entry]:
        """Those that can be added, each login once and folded, with a record that is understood."""
        for item in items:
            match item:
                case Unread(place, reason):
                    report.bad.append(Finding(place, "", reason))
                case LeftOut(place, what):
                    report.left_out.append(Finding(place, "", what))
                case Alias():
                    aliases.append(item)
                case Entry():
                    entry = self._understood(item, report, named)
                    if entry is not None:
                        named[entry.login] = entry.place
                        aliases += [Alias(entry.place, address, entry.login) for address in entry.aliases]
                        yield entry

    def _understood(self, entry: Entry, report: Report, named: dict[str, str]) -> Entry | None:
        try:
            login = names.fold(entry.login)
        except names.NotALogin as bad:
            report.bad.append(Finding(entry.place, "", str(bad)))
            return None
        if login in named:
            report.bad.append(Finding(entry.place, login, f"was named at {named[login]} already"))
            return None
        left_out, record = entry.left_out, with_scheme(entry.record, self.default_scheme) if entry.record else ""
        try:
            if record:
                records.check(record)
        except (BadRecord, ImportError) as bad:
            if not self.without_password:
                report.bad.append(Finding(entry.place, login, f"its hash cannot be used: {bad}"))
                return None
            left_out, record = (*left_out, f"its web password: {bad}"), ""
        switches = (entry.enabled, entry.client_logon, entry.services, entry.aliases)
        return Entry(entry.place, login, record, *switches, left_out)

    def _add(self, batch: list[Entry], report: Report) -> None:
        if self.dry_run:
            with looking(self.store) as unit:
                there = [entry for entry in batch if _is_there(unit, entry)]
            self._note([entry for entry in batch if entry not in there], there, [], report)
            return
        try:
            self._note(*self._added(batch), report)
        except Clash:  # somebody else added one of them at this moment
            for entry in batch:
                try:
                    self._note(*self._added([entry]), report)
                except Clash:
                    report.bad.append(Finding(entry.place, entry.login, "was changed by somebody else: run it again"))

    def _added(self, batch: list[Entry]) -> tuple[list[Entry], list[Entry], list[Finding]]:
        """One transaction: those that were added, those that were there, and those that cannot be."""
        added, there, bad = list[Entry](), list[Entry](), list[Finding]()
        stored = [(entry, self._record(entry.record)) for entry in batch]  # before anything is locked
        with changing(self.store, self.actor, None) as unit:
            for entry, record in stored:
                alias = unit.tx.row(unit.sql.ALIAS, address=entry.login)
                if alias is not None:
                    bad.append(Finding(entry.place, entry.login, f"is an alias of {alias['login']} here"))
                elif _is_there(unit, entry):
                    there.append(entry)
                else:
                    _make(unit, entry, record)
                    added.append(entry)
        return added, there, bad

    def _record(self, record: str) -> str | None:
        if not record:
            return None
        stored = unwrap(record)
        if stored.scheme not in IN_CLEAR:
            return record
        return self.hashed(stored.text().encode("utf-8", "surrogateescape"))

    def _note(self, added: list[Entry], there: list[Entry], bad: list[Finding], report: Report) -> None:
        report.added += len(added)
        report.there += len(there)
        report.bad += bad
        for entry in added:
            report.schemes[_scheme(entry.record)] += 1
        for entry in (*added, *there):
            report.left_out += [Finding(entry.place, entry.login, what) for what in entry.left_out]

    def _add_alias(self, alias: Alias, report: Report, named: dict[str, str]) -> None:
        try:
            address, login = names.fold(alias.address), names.fold(alias.login)
            if self.dry_run:
                report.aliases += self._would_add(address, login, named)
                return
            with changing(self.store, self.actor, None) as unit:
                there = unit.tx.row(unit.sql.ALIAS, address=address)
                if there is None or there["login"] != login:
                    added_alias(unit, login, address)
                    report.aliases += 1
        except (names.NotALogin, Refused, NoSuch, Clash) as reason:
            what = f"the alias {alias.address} of {alias.login}: {reason}"
            report.left_out.append(Finding(alias.place, "", what))

    def _would_add(self, address: str, login: str, named: dict[str, str]) -> int:
        """Raises NoSuch, Refused, as far as that can be foreseen."""
        with looking(self.store) as unit:
            there = unit.tx.row(unit.sql.ALIAS, address=address)
            if there is not None and there["login"] != login:
                raise Refused(f"it is an alias of {there['login']} already")
            if address in named or unit.tx.row(unit.sql.ACCOUNT, login=address) is not None:
                raise Refused("it is an account of its own")
            if login not in named and unit.tx.row(unit.sql.ACCOUNT, login=login) is None:
                raise NoSuch("there is no such account")
            return int(there is None)


def _is_there(unit: Unit, entry: Entry) -> bool:
    return unit.tx.row(unit.sql.ACCOUNT, login=entry.login) is not None


def _make(unit: Unit, entry: Entry, record: str | None) -> None:
    added_account(unit, entry.login, record)
    if entry.enabled and entry.client_logon and entry.services is None:
        return
    on = frozenset(Service) if entry.services is None else entry.services
    imap, pop3, smtp = (service in on for service in (Service.IMAP, Service.POP3, Service.SMTP))
    change = AccountChange(enabled=entry.enabled, client_logon=entry.client_logon, imap=imap, pop3=pop3, smtp=smtp)
    changed_account(unit, locked_account_row(unit, entry.login), change)


def _scheme(record: str) -> str:
    """The name under which a hash is counted."""
    if not record:
        return "none"
    stored = unwrap(record)
    if stored.scheme in IN_CLEAR:
        return "in clear"
    marks = {"$1$": "MD5-CRYPT", "$apr1$": "MD5 (apr1)", "$2": "BLF-CRYPT", "$5$": "SHA256-CRYPT"}
    marks |= {"$6$": "SHA512-CRYPT", "$argon2": "ARGON2", "$": "others", "pbkdf2_": "PBKDF2"}
    if stored.scheme not in {"", "CRYPT"}:
        return stored.scheme
    return next((name for mark, name in marks.items() if stored.value.startswith(mark)), "DES-CRYPT")
