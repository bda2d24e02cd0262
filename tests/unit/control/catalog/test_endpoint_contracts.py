"""Versions of endpoints, the contracts of their results, endpoints that read others, and what columns are made of."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.builders.control import newest_snapshot
from tests.builders.projects import WORST, flights, resources

from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.payload import Resources
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.endpoints import ColumnSpec
from headwater.core.errors import HeadwaterError

PROMISED = WORST.replace("parameters:", "columns: {carrier: string, worst: number}\nkey: [carrier]\nparameters:")
COUNTED = PROMISED.replace("max(delay)", "count(delay)")
TOTAL = "/* description: x */ SELECT sum(worst) AS total, min(w.carrier) AS first FROM worst w"


def project(endpoints: Mapping[str, str], *, dataset: str | None = None) -> Resources:
    return resources(
        {"datasets/flights.yaml": dataset or flights()},
        {f"endpoints/{name}.sql": text for name, text in endpoints.items()},
    )


def refused(owner: Actor, environment: Environment, wanted: Resources) -> list[tuple[str, str, str]]:
    with pytest.raises(HeadwaterError) as caught:
        plan_project(actor=owner, environment=environment, resources=wanted)
    assert caught.value.code == "project_invalid"
    return [(error["source"], error["path"], error["message"]) for error in caught.value.extra["errors"]]


def details(owner: Actor, environment: Environment, wanted: Resources, name: str) -> str:
    outcome = plan_project(actor=owner, environment=environment, resources=wanted)
    return "; ".join(next(change.details for change in outcome.changes if change.name == name))


def test_what_nobody_declares_is_inferred_and_recorded(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project({"worst": WORST}))
    spec = newest_snapshot(environment).endpoints["worst"]
    assert spec.is_inferred
    assert spec.columns == (ColumnSpec(name="carrier", type="VARCHAR"), ColumnSpec(name="worst", type="DOUBLE"))
    assert [(one.table, one.column) for one in spec.origins["worst"]] == [("flights", "delay")]


def test_a_result_that_is_not_as_declared_is_refused(environment: Environment, owner: Actor) -> None:
    wrong = PROMISED.replace("worst: number", "worst: integer, mean: number").replace("key: [carrier]", "key: [day]")
    messages = refused(owner, environment, project({"worst": wrong}))
    assert [(path, message.partition(";")[0]) for _, path, message in messages] == [
        ("columns.worst", "it is declared integer, and the SQL answers DOUBLE"),
        ("columns.mean", "the SQL answers no such column"),
        ("key", "the SQL answers no column 'day'"),
    ]
    swapped = PROMISED.replace("carrier: string, worst: number", "worst: number, carrier: string")
    assert "in the order carrier, worst" in refused(owner, environment, project({"worst": swapped}))[0][2]
    lacking = PROMISED.replace("carrier: string, worst: number", "carrier: string")
    assert "worst DOUBLE, which is not declared" in refused(owner, environment, project({"worst": lacking}))[0][2]


def test_a_promise_is_kept_within_a_version_and_the_refusal_shows_what_breaks_it(
    environment: Environment, owner: Actor
) -> None:
    apply_project(actor=owner, environment=environment, resources=project({"worst": PROMISED}))
    for text in (COUNTED.replace("worst: number", "worst: integer"), WORST.replace("max(delay)", "count(delay)")):
        ((source, path, message),) = refused(owner, environment, project({"worst": text}))
        assert (source, path) == ("endpoints/worst.sql", "columns")
        assert "~ worst number: now BIGINT" in message
        assert "worst@2.sql" in message


def test_a_new_version_may_break_it_and_both_are_served(environment: Environment, owner: Actor) -> None:
    both = {"worst": PROMISED, "worst@2": COUNTED.replace("worst: number", "worst: integer")}
    apply_project(actor=owner, environment=environment, resources=project({"worst": PROMISED}))
    outcome = apply_project(actor=owner, environment=environment, resources=project(both))
    assert {change.name: change.action for change in outcome.changes if change.kind == "endpoint"} == {
        "worst": "unchanged",
        "worst@2": "create",
    }
    endpoints = newest_snapshot(environment).endpoints
    assert {label: (spec.name, spec.version, spec.revision) for label, spec in endpoints.items()} == {
        "worst": ("worst", 2, 2),
        "worst@1": ("worst", 1, 1),
    }
    again = apply_project(actor=owner, environment=environment, resources=project(both))
    assert {change.action for change in again.changes} == {"unchanged"}


def test_a_deprecated_version_does_not_lead(environment: Environment, owner: Actor) -> None:
    old = "/*\nversion: 2\ndeprecated: 2026-01-01\n*/ SELECT carrier FROM flights"
    apply_project(actor=owner, environment=environment, resources=project({"worst": PROMISED, "worst@2": old}))
    assert {label: spec.version for label, spec in newest_snapshot(environment).endpoints.items()} == {
        "worst": 1,
        "worst@2": 2,
    }


def test_a_dataset_that_evolves_says_which_promises_it_breaks(environment: Environment, owner: Actor) -> None:
    star = "/*\ncolumns: {carrier: string, delay: number}\n*/ SELECT carrier, delay FROM flights"
    apply_project(actor=owner, environment=environment, resources=project({"all_of_them": star}))
    changed = flights("2.0.0").replace("name: delay", "name: lateness")
    found = refused(owner, environment, resources({"datasets/flights.yaml": changed}, {}))
    assert found[0][0] == "endpoint all_of_them (not in the directory)"
    assert "delay" in found[0][2]


def test_a_wider_dataset_is_no_breach_and_is_mentioned(environment: Environment, owner: Actor) -> None:
    star = "/* description: x */ SELECT COLUMNS(c -> NOT starts_with(c, '_')) FROM flights"
    apply_project(actor=owner, environment=environment, resources=project({"wide": star}))
    more = flights("1.1.0", more="      - name: tag\n        logicalType: string\n")
    assert "+ tag VARCHAR" in details(owner, environment, resources({"datasets/flights.yaml": more}, {}), "wide")


def test_an_endpoint_reads_another_and_its_columns_come_from_the_datasets(
    environment: Environment, owner: Actor
) -> None:
    wanted = project({"worst": WORST, "total": TOTAL})
    assert "reads flights, the endpoint worst@1" in details(owner, environment, wanted, "total")
    apply_project(actor=owner, environment=environment, resources=wanted)
    spec = newest_snapshot(environment).endpoints["total"]
    assert (spec.tables, spec.uses) == (("flights",), ("worst@1",))
    assert [(one.table, one.column) for one in spec.origins["total"]] == [("flights", "delay")]


def test_a_reader_keeps_its_version_until_it_is_published_anew(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project({"worst": PROMISED, "total": TOTAL}))
    second = {"worst@2": "/* description: x */ SELECT delay AS worst FROM flights"}
    apply_project(actor=owner, environment=environment, resources=project(second))
    assert newest_snapshot(environment).endpoints["total"].uses == ("worst@1",)


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        (
            {"a": "/* name: a */ SELECT * FROM b", "b": "/* name: b */ SELECT * FROM a"},
            "in a circle: a reads b reads a",
        ),
        ({"a": "/* name: a */ SELECT * FROM a"}, "in a circle: a reads a"),
        ({"a": "/* name: a */ SELECT * FROM nowhere"}, "there is no dataset 'nowhere'"),
        (
            {
                "worst": WORST.replace("max_length: 2", "required: true"),
                "total": TOTAL,
            },
            "cannot be read as a view: it needs carrier",
        ),
        ({"worst": WORST, "total": TOTAL.replace("sum(worst)", "sum(best)")}, "best"),
    ],
)
def test_a_view_that_cannot_be_is_refused(
    environment: Environment, owner: Actor, endpoints: Mapping[str, str], message: str
) -> None:
    assert any(message in found for _, _, found in refused(owner, environment, project(endpoints)))


def test_what_breaks_a_reader_that_the_directory_lacks_is_refused(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project({"worst": WORST, "total": TOTAL}))
    renamed = WORST.replace("AS worst", "AS worse")
    found = refused(owner, environment, project({"worst": renamed}))
    assert [source for source, _, _ in found] == ["endpoint total (not in the directory)"]
