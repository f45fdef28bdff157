"""The JSON API for tests: everybody who may call it, and every answer held against the OpenAPI document."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httpx2
from portal_site import ALICE, BOB, PEER, Site

from mailauth.accounts import aliases, apppasswords, domains, roleholders, tokens
from mailauth.accounts.recovery import put_recovery_address
from mailauth.accounts.roles import Role
from mailauth.accounts.tokens import OWN, Scope
from mailauth.accounts.unit import changing
from mailauth.portal.api.operations import OPERATIONS
from mailauth.portal.api.serving import matched
from mailauth.portal.api.table import BASE, Operation

ROOT, CHIEF, AUDITOR = "root@example.test", "chief@example.test", "auditor@example.test"
ROOT2 = "root2@example.test"
EVE = "eve@other.test"
DOMAIN, OTHER = "example.test", "other.test"
MAKER = {"actor": "cli:somebody"}
EVERYTHING = tuple(Scope)
OPERATION = {operation.name: operation for operation in OPERATIONS}
KEYWORDS = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "$ref", "format"),
    *("minLength", "maxLength", "pattern", "minimum", "maximum", "minItems", "maxItems", "uniqueItems"),
    *("minProperties", "description"),
}
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def mistakes(value: Any, schema: dict[str, Any], document: dict[str, Any], at: str = "") -> list[str]:
    """What in this value does not conform to a schema of JSON Schema 2020-12, as far as ours goes."""
    assert schema.keys() <= KEYWORDS, f"keywords that this cannot judge: {schema.keys() - KEYWORDS}"
    if "$ref" in schema:
        return mistakes(value, resolved(document, schema["$ref"]), document, at)
    if "anyOf" in schema:
        found = [mistakes(value, each, document, at) for each in schema["anyOf"]]
        return [] if [] in found else found[0]
    kinds = TYPES[schema["type"]]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return [f"{at}: {value!r} is no {schema['type']}"]
    found = [] if value in schema.get("enum", [value]) else [f"{at}: {value!r} is not one of {schema['enum']}"]
    if isinstance(value, dict):
        return found + _object_mistakes(value, schema, document, at)
    if isinstance(value, list):
        inner = [each for item in value for each in mistakes(item, schema["items"], document, f"{at}[]")]
        many = not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        twice = schema.get("uniqueItems") and any(value.count(item) > 1 for item in value)
        return found + inner + [f"{at}: {value}"] * bool(many or twice)
    return found + [f"{at}: {value!r}"] * (not _fits(value, schema))


def _object_mistakes(value: dict[str, Any], schema: dict[str, Any], document: dict[str, Any], at: str) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{at}.{name}: missing" for name in schema.get("required", []) if name not in value]
    if schema.get("additionalProperties") is False:
        found += [f"{at}.{name}: unknown" for name in value.keys() - properties.keys()]
    if len(value) < schema.get("minProperties", 0):
        found.append(f"{at}: too few")
    for name in value.keys() & properties.keys():
        found += mistakes(value[name], properties[name], document, f"{at}.{name}")
    return found


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, str):
        bounds = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        pattern = re.search(schema.get("pattern", ""), value) is not None
        return bounds and pattern and (schema.get("format") != "date-time" or DATE_TIME.fullmatch(value) is not None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def resolved(document: dict[str, Any], reference: str) -> Any:
    """What a reference within the document names."""
    assert reference.startswith("#/")
    place: Any = document
    for part in reference.removeprefix("#/").split("/"):
        place = place[part.replace("~1", "/").replace("~0", "~")]
    return place


@dataclass
class Api:
    """Calls the API of a site."""

    site: Site
    document: dict[str, Any] = field(default_factory=dict)

    def people(self) -> None:
        """Everybody, in two domains."""
        for login in (ALICE, BOB, EVE, ROOT, ROOT2, CHIEF, AUDITOR):
            self.site.add(login)
        for login, role in ((ROOT, Role.SITE_ADMIN), (ROOT2, Role.SITE_ADMIN), (AUDITOR, Role.AUDITOR)):
            roleholders.set_role(self.site.store, login, role, **MAKER)
        roleholders.set_role(self.site.store, CHIEF, Role.DOMAIN_ADMIN, [DOMAIN], **MAKER)

    def token(self, login: str | None = None, *scopes: str, expires_at: float | None = None) -> str:
        """One for this account, or, None, for a program that serves many; with these scopes, or all there are."""
        wanted = scopes or (EVERYTHING if login else tuple(OWN))
        made = tokens.add(
            *(self.site.store, login),
            label="test",
            scopes=wanted,
            expires_at=expires_at,
            now=self.site.clock() - 60,
            **MAKER,
        )
        return made.token

    def mint(self, login: str = ALICE, label: str = "phone") -> int:
        """An app password of this account."""
        site = self.site
        hashing, ring = site.hashing, site.ring
        return apppasswords.mint(site.store, ring, hashing, login, label=label, now=site.clock() - 60, **MAKER).id

    def spare_token(self, login: str = ALICE) -> int:
        """The id of an API token of this account."""
        now = self.site.clock() - 60
        return tokens.add(self.site.store, login, label="spare", scopes=["own:read"], now=now, **MAKER).id

    def alias(self, address: str, login: str = BOB) -> str:
        return aliases.add_alias(self.site.store, login, address, **MAKER)

    def recovery_address(self, login: str = BOB, address: str = "away@elsewhere.test") -> None:
        account = {"id": self.site.account_id(login), "login": login}
        with changing(self.site.store, "test", None) as unit:
            put_recovery_address(unit, account, address)

    def domain(self, name: str) -> str:
        return domains.add_domain(self.site.store, name, **MAKER)

    async def call(self, called: str, token: str | None, /, *, body: Any = None, query: Any = None, **path: Any) -> Any:
        """Call an operation by its name; see `send`."""
        operation = OPERATION[called]
        where = operation.path.format(**{key: str(value) for key, value in path.items()})
        more = {} if body is None else {"json": body}
        return await self.send(operation.method, where, token, params=query or {}, **more)

    async def send(self, method: str, path: str, token: str | None = None, *, peer: str = PEER, **more: Any) -> Any:
        """Any request, below BASE, whose answer is held against the document."""
        headers = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **more.pop("headers", {})}
        client = self.site.browser(peer=peer).client
        answer = await client.request(method, BASE + path, headers=headers, **more)
        await self.conforms(method, answer)
        return answer

    async def conforms(self, method: str, answer: httpx2.Response) -> None:
        """Whether this answer is one that the document promises."""
        if not self.document:
            client = self.site.browser().client
            self.document = (await client.get(f"{BASE}/openapi.json")).json()
        headers, status = answer.headers, str(answer.status_code)
        assert headers["cache-control"] == "no-store"
        assert "set-cookie" not in headers
        assert not [name for name in headers if name.startswith("access-control-")]
        path = answer.request.url.raw_path.partition(b"?")[0].decode().removeprefix(BASE)
        operation = operation_at("GET" if method == "HEAD" else method, path)
        told = (
            {} if operation is None else self.document["paths"][operation.path][operation.method.lower()]["responses"]
        )
        if answer.is_success:
            assert status in told, f"{method} {path}: {status}"
            content = told[status].get("content")
            assert (content is None) == (answer.content == b"") or method == "HEAD", answer.text
            if content is not None and method != "HEAD":
                found = mistakes(answer.json(), content["application/json"]["schema"], self.document)
                assert found == [], found
            return
        assert headers["content-type"] == "application/problem+json", answer.text
        if method == "HEAD":
            return
        assert mistakes(answer.json(), {"$ref": "#/components/schemas/Problem"}, self.document) == [], answer.text
        assert answer.json()["status"] == answer.status_code
        assert operation is None or status in told, f"{method} {path}: {status} is not in the document"


def operation_at(method: str, path: str) -> Operation | None:
    """Which operation that is."""
    parts = path.split("/")[1:]
    there = [each for each in OPERATIONS if each.method == method and matched(each.path, parts) is not None]
    return there[0] if there else None


def everything(site: Site) -> list[tuple[str, list[object]]]:
    """All rows of the store but the tokens, which note their use."""
    with site.store.reading() as tx:
        names = [row["name"] for row in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        named = [name for name in names if name != "api_tokens"]
        return [(name, [list(row.values()) for row in tx.rows(f"SELECT * FROM {name}")]) for name in named]
