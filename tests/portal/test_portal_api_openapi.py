"""The OpenAPI document: by the rules of OpenAPI 3.1, and the same as what is served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import make_dataclass
from typing import Any

import pytest
from api_site import KEYWORDS, Api, mistakes, resolved
from portal_site import ORIGIN, Site

from mailauth.portal.api.answers import described
from mailauth.portal.api.openapi import body_schema, document
from mailauth.portal.api.operations import OPERATIONS
from mailauth.portal.api.problem import KINDS

DOCUMENT = document(OPERATIONS, ORIGIN)
METHODS = ("get", "put", "post", "delete", "patch")
# Section 4.8 of OpenAPI 3.1.1: the fields of each object, as far as ours has such objects; required ones first.
FIELDS = {
    "root": (("openapi", "info", "paths"), ("servers", "tags", "components")),
    "info": (("title", "version"), ("description",)),
    "operation": (
        ("responses",),
        ("operationId", "summary", "description", "tags", "security", "parameters", "requestBody"),
    ),
    "parameter": (("name", "in", "schema"), ("required", "description", "example")),
    "requestBody": (("content",), ("required", "description")),
    "media": (("schema",), ("example",)),
    "response": (("description",), ("content", "headers")),
    "header": (("schema",), ("description",)),
    "components": ((), ("schemas", "responses", "securitySchemes")),
}


def has_fields(value: dict[str, Any], kind: str) -> None:
    required, optional = FIELDS[kind]
    assert set(required) <= value.keys(), f"{kind}: {value}"
    assert value.keys() <= {*required, *optional}, f"{kind}: {value.keys()}"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def schemas() -> Iterator[dict[str, Any]]:
    yield from DOCUMENT["components"]["schemas"].values()
    for _, _, operation in operations():
        yield from [parameter["schema"] for parameter in operation["parameters"]]
        for media in (operation.get("requestBody", {}).get("content", {})).values():
            yield media["schema"]


def is_schema(schema: dict[str, Any]) -> None:
    """Of JSON Schema 2020-12, with the keywords that the tests can judge by."""
    assert schema.keys() <= KEYWORDS, schema
    assert {"type", "anyOf", "$ref"} & schema.keys(), schema
    if "type" in schema:
        assert schema["type"] in {"object", "array", "string", "integer", "number", "boolean", "null"}
    if schema.get("type") == "array":
        assert "items" in schema
    assert set(schema.get("required", [])) <= schema.get("properties", {}).keys()
    for each in (*schema.get("properties", {}).values(), *schema.get("anyOf", [])):
        is_schema(each)
    if "items" in schema:
        is_schema(schema["items"])
    if "pattern" in schema:
        re.compile(schema["pattern"])


def test_the_document_has_the_parts_that_it_must_have() -> None:
    has_fields(DOCUMENT, "root")
    has_fields(DOCUMENT["info"], "info")
    has_fields(DOCUMENT["components"], "components")
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    assert DOCUMENT["servers"] == [{"url": f"{ORIGIN}/api/v1"}]
    for kind in DOCUMENT["components"].values():
        assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in kind)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        assert isinstance(resolved(DOCUMENT, reference), dict), reference
    for kind in ("schemas", "responses"):
        named = {f"#/components/{kind}/{name}" for name in DOCUMENT["components"][kind]}
        assert named - found <= {"#/components/responses/Problem405"}  # of what no operation is at


def test_paths_and_their_parameters_are_those_of_one_another() -> None:
    shapes = [re.sub(r"\{.*?\}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(shapes) == len(set(shapes))
    for path, method, operation in operations():
        assert path.startswith("/")
        assert method in METHODS
        in_path = [each for each in operation["parameters"] if each["in"] == "path"]
        assert re.findall(r"\{(.*?)\}", path) == [each["name"] for each in in_path]
        assert all(each["required"] for each in in_path)
        keys = [(each["name"], each["in"]) for each in operation["parameters"]]
        assert len(keys) == len(set(keys))


def test_every_operation_is_whole() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    schemes = DOCUMENT["components"]["securitySchemes"]
    for path, method, operation in operations():
        has_fields(operation, "operation")
        assert set(operation["tags"]) <= tags
        assert all(name in schemes for each in operation["security"] for name in each)
        assert ("requestBody" in operation) == (method in {"post", "put", "patch"} and bool(_takes(path, method)))
        for parameter in operation["parameters"]:
            has_fields(parameter, "parameter")
            assert parameter["in"] in {"path", "query"}
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            is_response(response if "$ref" not in response else resolved(DOCUMENT, response["$ref"]))


def _takes(path: str, method: str) -> bool:
    return any(each.body is not None for each in OPERATIONS if each.path == path and each.method.lower() == method)


def is_response(response: dict[str, Any]) -> None:
    has_fields(response, "response")
    for media in response.get("content", {}).values():
        has_fields(media, "media")
        is_schema(media["schema"])
    for header in response.get("headers", {}).values():
        has_fields(header, "header")


def test_every_schema_is_one() -> None:
    for schema in schemas():
        is_schema(schema)


def test_what_is_served_is_described_and_what_is_described_is_served() -> None:
    served = {(each.path, each.method.lower()): each for each in OPERATIONS}
    told = {(path, method): operation for path, method, operation in operations()}
    assert served.keys() == told.keys()
    for key, each in served.items():
        scopes = [] if each.access.scope is None else [{"bearer": [str(each.access.scope)]}]
        assert told[key]["security"] == scopes
        assert str(each.status) in told[key]["responses"]


def test_every_example_is_what_it_is_an_example_of() -> None:
    for _, _, operation in operations():
        for parameter in operation["parameters"]:
            if "example" in parameter:
                assert mistakes(parameter["example"], parameter["schema"], DOCUMENT) == [], parameter
            else:
                assert not parameter["required"], f"{operation['operationId']}: {parameter['name']} needs an example"
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert mistakes(media["example"], media["schema"], DOCUMENT) == [], operation["operationId"]


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.body], ids=lambda each: each.name)
def test_every_example_is_read(operation: Any) -> None:
    """What the document says is taken is taken."""
    for each in (*operation.params, *operation.query, *operation.body):
        if each.example is not None:
            each.shape.read(each.example)
    assert body_schema(operation)["additionalProperties"] is False


def test_two_values_of_one_name_are_not_described_as_one() -> None:
    one, other = [make_dataclass("Same", [("id", kind)]) for kind in (int, str)]
    assert described([one])["Same"]["properties"] == {"id": {"type": "integer"}}
    with pytest.raises(ValueError, match="two kinds"):
        described([one, other])


async def test_the_document_is_for_everybody_and_the_same_each_time(sqlite_database, ring) -> None:
    api = Api(Site(sqlite_database.store, ring))
    first, second = await api.call("show-document", None), await api.call("show-document", None)
    assert first.headers["content-type"] == "application/json"
    assert first.json() == second.json() == DOCUMENT


async def test_every_type_of_a_problem_can_be_looked_up(sqlite_database, ring) -> None:
    api = Api(Site(sqlite_database.store, ring))
    for name, kind in KINDS.items():
        answer = await api.call("show-problem", None, name=name)
        assert answer.json() == {"name": name, "status": kind.status, "title": kind.title, "about": kind.about}
    assert (await api.call("show-problem", None, name="x")).status_code == 404
