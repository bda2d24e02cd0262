"""The OpenAPI document holds every operation to the same manners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.test import RequestFactory
from pydantic import BaseModel
from tests.unit.control.api.test_completeness import operations

from headwater.control.api.pages import PageQuery, take_sorted
from headwater.control.api.revisions import check_number
from headwater.control.api.urls import api
from headwater.core.errors import MEDIA_TYPE, HeadwaterError

DOCUMENT: Final = api.get_openapi_schema(path_prefix="")
WITHOUT_REVISION: Final = {
    ("PUT", "/artifacts/{sha256}"): "its name is its content",
    ("DELETE", "/me/sessions/{session}"): "a session is ended, whatever became of it",
}


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of every operation."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


ALL: Final = [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in described()]


def properties_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a schema, or of the one that it refers to."""
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = DOCUMENT["components"]["schemas"].get(name, schema).get("properties", {})
    return found


def answers(operation: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Return the answers of an operation where all goes well."""
    return [(status, answer) for status, answer in operation["responses"].items() if str(status).startswith("2")]


@pytest.mark.parametrize(("method", "path", "operation"), ALL)
def test_an_operation_says_what_it_does_and_answers(method: str, path: str, operation: dict[str, Any]) -> None:
    summary = operation["summary"]
    assert summary != operation["operationId"].split("_", 1)[1].replace("_", " ").title(), "its view has no docstring"
    assert 10 < len(summary) <= 120, summary
    assert len(operation["tags"]) == 1
    assert answers(operation), "it says what it answers"
    for status, answer in answers(operation):
        assert ("content" in answer) == (status != 204), f"{method} {path} answers {status} with nothing known"
    for status, answer in operation["responses"].items():
        if not str(status).startswith("2"):
            assert list(answer["content"]) == [MEDIA_TYPE]
    assert "default" in operation["responses"]


@pytest.mark.parametrize(("method", "path", "operation"), ALL)
def test_a_list_is_paged_like_every_other(method: str, path: str, operation: dict[str, Any]) -> None:
    if method != "GET":
        return
    for _, answer in answers(operation):
        schema = answer["content"].get("application/json", {}).get("schema", {})
        assert schema.get("type") != "array", "a list has pages"
        if "items" not in properties_of(schema):
            continue
        assert set(properties_of(schema)) == {"items", "next"}
        asked = {item["name"]: item for item in operation["parameters"] if item["in"] == "query"}
        assert (asked["limit"]["schema"]["maximum"], asked["limit"]["schema"]["default"]) == (200, 50)
        assert not asked["cursor"]["required"]


@pytest.mark.parametrize(("method", "path", "operation"), ALL)
def test_a_change_takes_the_revision_last_seen(method: str, path: str, operation: dict[str, Any]) -> None:
    headers = {item["name"] for item in operation["parameters"] if item["in"] == "header"}
    if method in ("PUT", "PATCH", "DELETE"):
        assert ("If-Match" in headers) != ((method, path) in WITHOUT_REVISION)
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    assert ("revision" in properties_of(content.get("schema", {}))) <= ("If-Match" in headers)
    if "If-Match" in headers:
        assert 409 in operation["responses"]


def test_the_document_is_built_once_for_everybody() -> None:
    assert api.get_openapi_schema(path_prefix="") is DOCUMENT
    assert set(api.get_openapi_schema(path_prefix="/elsewhere")["paths"]) == {
        f"/elsewhere{path}" for path in DOCUMENT["paths"]
    }


def test_names_are_given_once() -> None:
    ids = [operation["operationId"] for _, _, operation in described()]
    assert len(ids) == len(set(ids)) > 120
    assert not [name for name in ids if name.startswith("headwater")]
    # Two classes of one name would be one schema in the document: the latter for both.
    seen: dict[str, type] = {}
    for kind in {kind for operation in operations() for kind in models_of(operation)}:
        assert seen.setdefault(kind.__name__, kind) is kind, f"{kind.__name__} is in two modules"


def models_of(operation: Any) -> Iterator[type[BaseModel]]:
    """Yield the schemas that an operation takes and gives, and those inside."""
    ahead: list[Any] = [*operation.models, *operation.response_models.values()]
    seen: set[int] = set()
    while ahead:
        one = ahead.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        ahead.extend(getattr(one, "__args__", ()))
        if isinstance(one, type) and issubclass(one, BaseModel):
            ahead.extend(field.annotation for field in one.model_fields.values())
            if one.__module__.startswith("headwater."):
                yield one


def test_if_match_is_read_as_browsers_and_programs_write_it() -> None:
    for text in ('"3"', "3", 'W/"3"', "*", ""):
        check_number(RequestFactory().get("/", headers={"If-Match": text}), 3, "it")
    for text, code in (('"2"', "conflict"), ("three", "invalid_header"), ('"2", "3"', "invalid_header")):
        with pytest.raises(HeadwaterError) as caught:
            check_number(RequestFactory().get("/", headers={"If-Match": text}), 3, "it")
        assert caught.value.code == code
    with pytest.raises(HeadwaterError, match="it is at revision 3, not 2"):
        check_number(RequestFactory().get("/", headers={"If-Match": '"3"'}), 3, "it", revision=2)


@pytest.mark.parametrize("word", ["", "a", "row", "line", "é€"])
def test_pages_of_what_is_worked_out_neither_skip_nor_repeat(word: str) -> None:
    rows = [f"{word}{number:03}" for number in range(25)]
    found: list[str] = []
    query = PageQuery(limit=10, cursor=None)
    page = take_sorted(rows, PageQuery(limit=200, cursor=None), str, key=str)
    assert (page.items, page.next) == (rows, None)
    for expected in (10, 10, 5):
        page = take_sorted(reversed(rows), query, str, key=str)
        assert len(page.items) == expected
        found += page.items
        query = PageQuery(limit=10, cursor=page.next)
        rows = [row for row in rows if not row.endswith("001")]
    assert found == [f"{word}{number:03}" for number in range(25)]
    assert page.next is None
    for cursor in ("é", "A", "_w"):
        with pytest.raises(HeadwaterError, match="is not a cursor"):
            take_sorted(rows, PageQuery(limit=10, cursor=cursor), str, key=str)
