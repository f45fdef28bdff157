"""A login folded to its one spelling, or refused with the reason.

Source: RFC 5321 section 4.1.2 (Dot-string), RFC 6531 section 3.3, RFC 8265 section 3.3 (UsernameCaseMapped),
RFC 5891 (IDNA 2008) after the mapping of UTS 46.
Rule: no other file lower-cases, maps or judges a login. What was not ASCII never becomes a name of plain ASCII.
"""

from __future__ import annotations

import re
import unicodedata

MAX_LOGIN_BYTES = 254  # RFC 5321 section 4.5.3.1.3: a path of 256 octets, less its angle brackets
MAX_LOCAL_BYTES = 64  # RFC 5321 section 4.5.3.1.1
MAX_DOMAIN_BYTES = 253  # RFC 1035 section 2.3.4: 255 octets on the wire
SHOWN_CHARACTERS = 60  # of a refused name, in the error's text

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1035 section 2.3.1, RFC 1123 section 2.1: 63 octets at most
_ATOM = r"""[^\x00-\x20\x7f"(),.:;<>@\[\\\]]+"""  # atext of RFC 5321, with the UTF8-non-ascii of RFC 6531
_LOCAL = rf"{_ATOM}(?:\.{_ATOM})*"
_PLAIN_LOGIN = re.compile(
    rf"(?=.{{3,{MAX_LOGIN_BYTES}}}\Z)(?=[^@]{{1,{MAX_LOCAL_BYTES}}}@){_LOCAL}@{_LABEL}(?:\.{_LABEL})*"
)
_LOCAL_PART = re.compile(_LOCAL)
_LDH_LABEL = re.compile(_LABEL)
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # UTS 46 section 4: the full stops that input methods write

# Python's Unicode data has no Script property (UAX 24). The first word of a character's name is the script's name
# for every letter that RFC 8264 and IDNA 2008 let through, but for these.
_SCRIPT_OF_WORD = {
    "IDEOGRAPHIC": "CJK",  # the iteration mark and the zero
    "HENTAIGANA": "HIRAGANA",
    "KATAKANA-HIRAGANA": "KATAKANA",  # the prolonged sound mark, which must not stand as a dash among Latin letters
    "ARABIC-INDIC": "ARABIC",
    "EXTENDED": "ARABIC",  # the Persian digits
}
_NO_SCRIPT = {"DIGIT", "COMBINING", "MODIFIER", "VEDIC"}  # Common and Inherited
_WRITTEN_TOGETHER = (  # UTS 39 section 5.1: the augmented script sets
    {"CJK", "HIRAGANA", "KATAKANA"},
    {"CJK", "BOPOMOFO"},
    {"CJK", "HANGUL"},
)


class NotALogin(ValueError):
    """This text cannot be a login (or a domain). The text says why and what to do, and is safe to print."""


def fold(login: str) -> str:
    """The one spelling of a login: domain as A-labels, local part lower-cased (Unicode: UsernameCaseMapped, NFC).

    The result has at most 254 octets of UTF-8 and folds to itself. Addresses that need quotes, address literals,
    mixed scripts and look-alikes of ASCII (full-width letters, the Kelvin sign) are refused. Raises NotALogin.
    """
    if login.isascii():
        folded = login.lower()
        if "xn--" not in folded and _PLAIN_LOGIN.fullmatch(folded):
            return folded
    return _fold_by_parts(login)


def fold_domain(domain: str) -> str:
    """The one spelling of a domain: lower-case A-labels, at most 253 octets, no dot at its end. Raises NotALogin."""
    labels = _DOTS.split(_bounded(domain))
    if "" in labels:
        raise NotALogin(
            f"{_shown(domain)} is no domain: it has no dot at either end, nor two together; such as example.com"
        )
    folded = ".".join([_fold_label(label) for label in labels])
    if not domain.isascii() and "".join(labels).isascii():
        raise NotALogin(f"{_shown(domain)}: the dots of a domain must be plain ones; write {folded!r}")
    if len(folded) > MAX_DOMAIN_BYTES:
        raise NotALogin(f"{_shown(domain)}: a domain has at most {MAX_DOMAIN_BYTES} characters; shorten it")
    return folded


def _fold_by_parts(login: str) -> str:
    local, _, domain = _bounded(login).partition("@")
    if not local or not domain or "@" in domain:
        raise NotALogin(f"{_shown(login)} is no mail address: write it whole, with one @, such as alice@example.com")
    folded = f"{_fold_local(local)}@{fold_domain(domain)}"
    if len(folded.encode()) > MAX_LOGIN_BYTES:
        raise NotALogin(f"{_shown(login)}: a login has at most {MAX_LOGIN_BYTES} bytes; shorten it")
    return folded


def _bounded(name: str) -> str:
    """The name, if it is short enough to look at; counted composed (NFC), so that every spelling has one fate."""
    composable = len(name) <= 4 * MAX_LOGIN_BYTES  # no character decomposes into more than four (UAX 15 section 9)
    if not composable or len(unicodedata.normalize("NFC", name)) > MAX_LOGIN_BYTES:
        raise NotALogin(f"{_shown(name)}: a login has at most {MAX_LOGIN_BYTES} bytes; shorten it")
    return name


def _fold_local(local: str) -> str:
    folded = local.lower() if local.isascii() else _prepared(local)
    if not _LOCAL_PART.fullmatch(folded):
        raise NotALogin(
            f'{_shown(local)} cannot stand before the @: spaces, control characters, "(),:;<>[\\] and a dot at '
            "either end or beside another dot are not taken; leave them out"
        )
    if len(folded.encode()) > MAX_LOCAL_BYTES:
        raise NotALogin(f"{_shown(local)}: at most {MAX_LOCAL_BYTES} bytes may stand before the @; shorten it")
    return folded


def _prepared(local: str) -> str:
    import precis_i18n  # noqa: PLC0415 - hardly a login needs it

    try:
        profile = precis_i18n.get_profile("UsernameCaseMapped")
        folded: str = profile.enforce(unicodedata.normalize("NFC", local))
    except UnicodeError:
        raise NotALogin(
            f"{_shown(local)} holds a character that no user name may hold (RFC 8265); use letters and digits"
        ) from None
    _refuse_look_alike(local, folded)
    return folded


def _fold_label(label: str) -> str:
    folded = label.lower()
    if folded.isascii() and label.isascii() and not folded.startswith("xn--"):
        if not _LDH_LABEL.fullmatch(folded):
            raise NotALogin(
                f"{_shown(label)} cannot be part of a domain: use letters, digits and inner hyphens, 1 to 63 of them "
                "between two dots"
            )
        return folded
    return _fold_international_label(label)


def _fold_international_label(label: str) -> str:
    import idna  # noqa: PLC0415 - hardly a login needs it

    try:
        if label.isascii():
            text = idna.ulabel(label.lower())
        else:
            text = idna.uts46_remap(unicodedata.normalize("NFC", label), std3_rules=True)
        folded = idna.alabel(text).decode("ascii")
    except UnicodeError:
        raise NotALogin(f"{_shown(label)} is no international domain label (RFC 5891); check its spelling") from None
    _refuse_look_alike(label, text)
    return folded


def _refuse_look_alike(typed: str, text: str) -> None:
    """typed: as it came; text: as Unicode, after mapping."""
    if text.isascii():
        raise NotALogin(f"{_shown(typed)} only looks like {_shown(text)}: type it in plain letters")
    scripts = {_script(character) for character in text} - {None}
    if len(scripts) > 1 and not any(scripts <= together for together in _WRITTEN_TOGETHER):
        raise NotALogin(f"{_shown(typed)} mixes letters of several scripts: write it in one")


def _script(character: str) -> str | None:
    """The script of a letter, mark or number; None for what belongs to every script."""
    if unicodedata.category(character)[0] not in "LMN":
        return None
    word = unicodedata.name(character, "NAMELESS").partition(" ")[0]
    return None if word in _NO_SCRIPT else _SCRIPT_OF_WORD.get(word, word)


def _shown(name: str) -> str:
    """Quoted and cut; control, invisible and surrogate characters as escapes."""
    return repr(name) if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]!r}..."
