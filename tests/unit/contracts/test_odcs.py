from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml
from tests.builders.contracts import make_every_type

from headwater.contracts.model import Constraints, Contract, Dedup, Field, Lateness, LogicalType
from headwater.contracts.odcs import export_contract, parse_contract
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.10
status: active
schema:
  - name: orders
    properties:
"""
FULL = """\
apiVersion: v3.1.0
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
version: 1.10
status: proposed
name: seller_payments
domain: seller
tags: [finance]
description: {purpose: Views, usage: Predict sales}
slaProperties:
  - {property: retention, value: 3, unit: y}
servers:
  - {server: local, type: local, path: ./x, format: csv}
customProperties:
  - {property: refRulesetName, value: gcsc.ruleset.name}
  - {property: headwater.onUnknown, value: quarantine}
  - {property: headwater.onError, value: reject_batch}
  - {property: headwater.eventTime, value: at}
  - {property: headwater.late, value: {onTime: 2h, allowed: 30d, action: quarantine}}
  - {property: headwater.future, value: {maxSkew: null}}
  - {property: headwater.dedup, value: {within: 7d, onConflict: quarantine}}
  - {property: headwater.quarantine, value: {retention: 90d, storeRaw: never}}
  - {property: headwater.compatibility, value: FULL}
schema:
  - name: orders
    physicalName: orders_1
    description: Orders as they come.
    quality: [{metric: rowCount, mustBeGreaterThan: 1}]
    properties:
      - {name: region, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 2}
      - name: id
        logicalType: string
        logicalTypeOptions: {format: uuid}
        required: true
        primaryKey: true
        primaryKeyPosition: 1
        businessName: Order number
      - {name: at, logicalType: timestamp, logicalTypeOptions: {timezone: true, format: yyyy-MM-dd}}
      - name: price
        logicalType: number
        classification: confidential
        customProperties:
          - {property: headwater.type, value: decimal}
          - {property: headwater.precision, value: 12}
          - {property: headwater.scale, value: 2}
          - {property: maskWith, value: stars}
      - {name: lines, logicalType: array, items: {logicalType: object, properties: [{name: sku, logicalType: string}]}}
      - {name: country, logicalType: string, customProperties: [{property: headwater.enum, value: [NO, SE]}]}
      - {name: payload, logicalType: object, logicalTypeOptions: {maxProperties: 3}}
"""
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{name}: &{name} [{','.join([f'*{other}'] * 9)}]" for other, name in zip("abcdefg", "bcdefgh", strict=True)
)


def field_of(text: str) -> Field:
    return parse_contract(HEAD + textwrap.indent(textwrap.dedent(text), " " * 6), source="orders.yaml").fields[0]


def errors_of(text: str) -> list[dict[str, Any]]:
    with pytest.raises(HeadwaterError) as caught:
        parse_contract(text, source="orders.yaml")
    assert caught.value.code == "contract_invalid"
    errors: list[dict[str, Any]] = caught.value.extra["errors"]
    assert all(error["source"] == "orders.yaml" and error["message"] and error["cure"] for error in errors)
    return errors


def test_what_is_understood_becomes_the_model() -> None:
    contract = parse_contract(FULL, source="orders.yaml")
    assert (contract.name, contract.version, contract.description) == ("orders", "1.10", "Orders as they come.")
    assert contract.dedup is not None
    assert contract.dedup.key == ("id", "region")
    assert contract.lateness.allowed is not None
    assert contract.lateness.allowed.days == 30
    assert contract.lateness.max_skew is None
    assert (contract.on_unknown, contract.on_error, contract.store_raw) == ("quarantine", "reject_batch", False)
    fields = {field.name: field for field in contract.fields}
    assert fields["id"].type is LogicalType.UUID
    assert (fields["price"].type, fields["price"].precision, fields["price"].scale) == (LogicalType.DECIMAL, 12, 2)
    assert (fields["at"].required, fields["at"].nullable) == (False, True)
    assert fields["country"].constraints.enum == ("NO", "SE")
    assert fields["payload"].type is LogicalType.JSON
    assert fields["payload"].constraints.format == "object"
    assert fields["lines"].items is not None
    assert fields["lines"].items.nullable is False


def test_what_is_not_understood_comes_back_as_it_was() -> None:
    contract = parse_contract(FULL, source="orders.yaml")
    document = export_contract(contract)
    original = yaml.safe_load(FULL)
    for key in ("id", "status", "name", "domain", "tags", "description", "slaProperties", "servers"):
        assert document[key] == original[key]
    assert {"property": "refRulesetName", "value": "gcsc.ruleset.name"} in document["customProperties"]
    assert {"property": "headwater.compatibility", "value": "FULL"} in document["customProperties"]
    table = document["schema"][0]
    assert table["physicalName"] == "orders_1"
    assert table["quality"] == original["schema"][0]["quality"]
    properties = {entry["name"]: entry for entry in table["properties"]}
    assert properties["id"]["businessName"] == "Order number"
    assert properties["id"]["primaryKeyPosition"] == 1
    assert properties["at"]["logicalTypeOptions"] == {"timezone": True, "format": "yyyy-MM-dd"}
    assert {"property": "maskWith", "value": "stars"} in properties["price"]["customProperties"]
    assert properties["payload"]["logicalTypeOptions"] == {"maxProperties": 3}
    assert parse_contract(yaml.safe_dump(document), source="again.yaml") == contract


@pytest.mark.parametrize(
    "contract",
    [
        make_every_type(),
        make_every_type(
            event_time="at",
            on_unknown="drop",
            lateness=Lateness(late_action="reject"),
            quarantine_retention=None,
            protected=True,
            require_idempotency_key=True,
        ),
        Contract("plain", "2", (Field("a", LogicalType.STRING, nullable=True, has_default=True, default=None),)),
        Contract("keyed", "2.1.3", (Field("a", LogicalType.DATE),), dedup=Dedup(("a",))),
    ],
    ids=["every type", "every policy", "a null default", "a key"],
)
def test_a_contract_survives_export_and_import(contract: Contract) -> None:
    text = yaml.safe_dump(export_contract(contract), allow_unicode=True)
    assert parse_contract(text, source="x.yaml") == contract


@pytest.mark.parametrize(
    "field",
    [
        Field("a", LogicalType.DATE, required=False),
        Field("a", LogicalType.DATE, nullable=True),
        Field("a", LogicalType.DATE, nullable=True, has_default=True, default=None),
    ],
    ids=["optional", "nullable", "null by default"],
)
def test_a_key_of_what_may_be_missing_is_refused_with_the_cure(field: Field) -> None:
    keyed = Contract("keyed", "1", (Field("id", LogicalType.STRING), field), dedup=Dedup(("id", "a")))
    text = yaml.safe_dump(export_contract(keyed))
    with pytest.raises(HeadwaterError, match="'a' may be missing") as caught:
        parse_contract(text, source="x.yaml")
    (error,) = caught.value.extra["errors"]
    assert error["cure"] == "Make a required, or leave it out of the key."
    assert compile_contract(keyed) is not None  # what was applied before goes on, refusing such rows


def test_a_field_with_a_default_may_be_part_of_the_key() -> None:
    field = Field("a", LogicalType.STRING, required=False, has_default=True, default="x")
    keyed = Contract("keyed", "1", (field,), dedup=Dedup(("a",)))
    assert parse_contract(yaml.safe_dump(export_contract(keyed)), source="x.yaml") == keyed


def test_yaml_follows_its_newer_rules() -> None:
    field = field_of(
        """
        - name: country
          logicalType: string
          customProperties: [{property: headwater.enum, value: [NO, on, "5", 2026-01-01]}]
        """
    )
    assert field.constraints.enum == ("NO", "on", "5", "2026-01-01")


def test_every_mistake_is_listed_with_its_line_and_cure() -> None:
    errors = errors_of(
        HEAD
        + """\
      - name: a
        logicalType: strng
      - name: b
        logicalType: integer
        requird: true
        logicalTypeOptions: {minimum: five, pattern: x}
        customProperties: [{property: headwater.alias, value: [x]}]
"""
    )
    assert [error["line"] for error in errors] == [10, 13, 14, 15]
    assert errors[1]["path"] == "schema[0].properties[1].requird"
    assert errors[1]["cure"] == "Did you mean required?"
    assert errors[3]["cure"] == "Did you mean headwater.aliases?"


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("- {name: a, logicalType: integer, logicalTypeOptions: {minimum: 5, maximum: 3}}", "no integer", 9),
        ("- {name: a, logicalType: string, logicalTypeOptions: {pattern: '(?=a)'}}", "pattern is not valid", 9),
        ("- {name: a, logicalType: string, logicalTypeOptions: {minLength: 3, maxLength: 1}}", "min_length", 9),
        ("- {name: _hw_seq, logicalType: string}", "cannot name a field", 9),
        ("- {name: a b, logicalType: string}", "cannot name a field", 9),
        ("- {name: a, logicalType: string}\n- {name: A, logicalType: string}", "is taken by 'a'", 10),
        ("- {name: a, logicalType: array}", "items is missing", 9),
        ("- {name: a, logicalType: date, logicalTypeOptions: {minimum: 01.01.2020}}", "limit is not valid", 9),
        ("- {name: a, logicalType: timestamp, logicalTypeOptions: {defaultTimezone: Mars/Base}}", "no time zone", 9),
        (
            "- {name: a, logicalType: integer, customProperties: [{property: headwater.default, value: x}]}",
            "the default must be an integer",
            9,
        ),
        (
            "- {name: a, logicalType: string, customProperties: [{property: headwater.enum, value: [1]}]}",
            "is no string",
            9,
        ),
    ],
)
def test_a_contract_that_cannot_work_is_refused_where_it_is_wrong(text: str, words: str, line: int) -> None:
    (error,) = errors_of(HEAD + textwrap.indent(text, " " * 6) + "\n")
    assert words in error["message"]
    assert error["line"] == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2", "occurs twice"),
        ("- 1", "must be a mapping"),
        ("a: &x [*x]", "contains itself"),
        ("a: !!python/object:os.system x", "tag"),
        ("apiVersion: v2.2.2\nversion: 1.0\nschema: []", "not supported"),
        (HEAD.replace("name: orders", "name: Orders") + "      - {name: a, logicalType: date}", "cannot name"),
        (LAUGHS, "too many values"),
        ("[" * 5_000, "not valid YAML"),
    ],
)  # fmt: skip
def test_text_that_is_no_contract_is_refused_in_plain_words(text: str, words: str) -> None:
    assert any(words in error["message"] for error in errors_of(text))


def test_an_integer_format_limits_the_range() -> None:
    field = field_of("- {name: a, logicalType: integer, logicalTypeOptions: {format: u8}}")
    assert field.constraints == Constraints(format="u8")
