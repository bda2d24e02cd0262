from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Literal

import yaml
from hypothesis import given
from hypothesis import strategies as st

from headwater.contracts.model import Constraints, Contract, Dedup, Field, Lateness, LogicalType
from headwater.contracts.odcs import export_contract, parse_contract
from headwater.contracts.projections import json_schema
from headwater.contracts.spec import contract_from_spec, contract_to_spec
from headwater.contracts.validate import compile_contract

T = LogicalType
BOOLEANS = st.booleans()
ACTIONS: st.SearchStrategy[Literal["accept", "quarantine", "reject"]] = st.sampled_from(
    ["accept", "quarantine", "reject"]
)
DURATIONS = st.integers(0, 10**10).map(lambda ms: timedelta(milliseconds=ms))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12)
LENGTHS = st.one_of(st.none(), st.integers(0, 9))
SIMPLE = {
    T.ARRAY: st.builds(Constraints, min_items=st.sampled_from([None, 1]), unique_items=BOOLEANS),
    T.JSON: st.builds(Constraints, format=st.sampled_from([None, "object", "array"])),
    T.TIMESTAMP: st.builds(Constraints, format=st.sampled_from([None, "epoch_s", "epoch_ms"])),
    T.DATE: st.builds(Constraints, ge=st.sampled_from([None, "2020-01-01"])),
}
TAGS = st.lists(WORDS, max_size=2)


@st.composite
def constraints_of(draw: st.DrawFn, kind: LogicalType) -> Constraints:
    if kind in (T.INTEGER, T.NUMBER, T.DECIMAL):
        low = draw(st.one_of(st.none(), st.integers(-100, 0)))
        step = draw(st.sampled_from([None, 1, 5]))
        return Constraints(ge=low, lt=draw(st.sampled_from([None, 100])), multiple_of=step)
    if kind in (T.STRING, T.BINARY):
        low = draw(LENGTHS)
        high = None if low is None else low + draw(st.integers(0, 5))
        pattern = draw(st.sampled_from([None, "[a-z]*", "(?:a|b)+"])) if kind is T.STRING else None
        return Constraints(min_length=low, max_length=high, pattern=pattern)
    return draw(SIMPLE.get(kind, st.just(Constraints())))


@st.composite
def fields(draw: st.DrawFn, name: str, depth: int = 0) -> Field:
    kinds = [kind for kind in T if depth < 2 or kind not in (T.ARRAY, T.STRUCT, T.MAP)]
    kind = draw(st.sampled_from(kinds))
    precision = draw(st.integers(1, 38)) if kind is T.DECIMAL else 38
    nullable = draw(BOOLEANS)
    has_default = nullable and draw(BOOLEANS)
    rest = draw(st.sampled_from(["", json.dumps({"tags": ["x"]}, separators=(",", ":"))]))
    return Field(
        name,
        kind,
        required=draw(BOOLEANS),
        nullable=nullable,
        has_default=has_default,
        description=draw(WORDS),
        constraints=draw(constraints_of(kind)),
        precision=precision,
        scale=draw(st.integers(0, precision)) if kind is T.DECIMAL else 9,
        items=draw(fields("item", depth + 1)) if kind in (T.ARRAY, T.MAP) else None,
        fields=draw(members(depth + 1)) if kind is T.STRUCT else (),
        aliases=(f"old_{name}",) if draw(BOOLEANS) and depth == 0 else (),
        classification=draw(st.sampled_from(["public", "restricted"])),
        coerce=draw(st.sampled_from(["lossless", "lenient"])),
        default_timezone=draw(st.sampled_from([None, "Europe/Paris"])) if kind is T.TIMESTAMP else None,
        rest=rest,
    )


def members(depth: int) -> st.SearchStrategy[tuple[Field, ...]]:
    return st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True).flatmap(
        lambda names: st.tuples(*(fields(name, depth) for name in names))
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    key = Field("key", T.STRING)
    at = Field("at", T.TIMESTAMP)
    extra: dict[str, Any] = {"root": {"tags": draw(TAGS), "customProperties": [{"property": "x", "value": 1}]}}
    return Contract(
        "rows",
        draw(st.sampled_from(["1.0", "2.10", "3"])),
        (key, at, *draw(members(0))),
        description=draw(WORDS),
        on_unknown=draw(st.sampled_from(["capture", "quarantine", "drop"])),
        on_error=draw(st.sampled_from(["quarantine", "reject_row", "reject_batch"])),
        dedup=draw(st.sampled_from([None, Dedup(("key",)), Dedup(("key", "at"), "quarantine", timedelta(days=1))])),
        event_time=draw(st.sampled_from([None, "at"])),
        lateness=Lateness(
            on_time=draw(DURATIONS),
            allowed=draw(st.none() | DURATIONS),
            late_action=draw(ACTIONS),
            max_skew=draw(st.none() | DURATIONS),
            future_action=draw(ACTIONS),
        ),
        protected=draw(BOOLEANS),
        require_idempotency_key=draw(BOOLEANS),
        quarantine_retention=draw(st.none() | DURATIONS),
        store_raw=draw(BOOLEANS),
        rest=json.dumps(extra, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if draw(BOOLEANS) else "",
    )


@given(contract=contracts())
def test_a_contract_survives_every_form_it_takes(contract: Contract) -> None:
    text = yaml.safe_dump(export_contract(contract), allow_unicode=True, sort_keys=False)
    read = parse_contract(text, source="rows.yaml")
    assert read == contract
    assert export_contract(read) == export_contract(contract)
    assert contract_from_spec(json.loads(json.dumps(contract_to_spec(contract)))) == contract


@given(contract=contracts())
def test_a_sound_contract_compiles_and_projects(contract: Contract) -> None:
    validator = compile_contract(contract)
    names = [field.name for field in contract.fields]
    assert validator.schema.names == [*names, "_extra", "_hw_late"]
    assert list(json_schema(contract)["properties"]) == names
