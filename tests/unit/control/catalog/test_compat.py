"""Which contract changes break producers or readers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headwater.contracts.model import Constraints, Contract, Dedup, Field, LogicalType
from headwater.control.catalog.compat import compare_contracts, major, version_order

ID = Field("id", LogicalType.INTEGER)
NOTE = Field("note", LogicalType.STRING, required=False, nullable=True)
OLD = Contract("orders", "1.0", (ID, NOTE))


def changed(*fields: Field) -> Contract:
    return Contract("orders", "1.1", fields)


def breaking(new: Contract) -> list[str]:
    return [str(change) for change in compare_contracts(OLD, new) if change.breaking]


def harmless(new: Contract) -> list[str]:
    return [str(change) for change in compare_contracts(OLD, new) if not change.breaking]


def test_a_contract_equals_itself() -> None:
    assert compare_contracts(OLD, OLD) == ()


def test_a_type_change_breaks() -> None:
    new = changed(replace(ID, type=LogicalType.STRING), NOTE)
    assert breaking(new) == ["id: type changed from integer to string"]


def test_a_new_required_field_breaks_unless_it_has_a_default() -> None:
    extra = Field("total", LogicalType.NUMBER)
    assert breaking(changed(ID, NOTE, extra)) == ["total: added as required"]
    assert breaking(changed(ID, NOTE, replace(extra, has_default=True, default=0.0))) == []


def test_a_new_optional_field_is_harmless() -> None:
    assert harmless(changed(ID, NOTE, Field("tag", LogicalType.STRING, required=False))) == ["tag: added"]


def test_removing_a_required_field_breaks_and_an_optional_one_does_not() -> None:
    assert breaking(changed(NOTE)) == ["id: removed"]
    assert breaking(changed(ID)) == []


def test_a_rename_breaks_readers_once_and_is_not_reported_as_an_addition() -> None:
    assert breaking(changed(replace(ID, name="order_id", aliases=("id",)), NOTE)) == [
        "id: renamed to 'order_id', still accepted under the old name"
    ]
    assert harmless(changed(replace(ID, name="order_id", aliases=("id",)), NOTE)) == []


def test_optional_to_required_and_losing_null_break() -> None:
    assert breaking(changed(ID, replace(NOTE, required=True))) == ["note: became required"]
    assert breaking(changed(ID, replace(NOTE, nullable=False))) == ["note: no longer accepts null"]


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        (Constraints(ge=0), Constraints(ge=1), True),
        (Constraints(ge=1), Constraints(ge=0), False),
        (Constraints(), Constraints(le=10), True),
        (Constraints(le=10), Constraints(), False),
        (Constraints(enum=(1, 2)), Constraints(enum=(1, 2, 3)), False),
        (Constraints(enum=(1, 2)), Constraints(enum=(1,)), True),
        (Constraints(pattern="a"), Constraints(pattern="b"), True),
        (Constraints(unique_items=True), Constraints(), False),
    ],
)
def test_tightening_a_constraint_breaks_and_relaxing_it_does_not(
    before: Constraints, after: Constraints, breaks: bool
) -> None:
    old = Contract("orders", "1.0", (replace(ID, constraints=before),))
    new = Contract("orders", "1.1", (replace(ID, constraints=after),))
    assert [change.breaking for change in compare_contracts(old, new)] == [breaks]


def test_changes_inside_structs_and_lists_name_their_path() -> None:
    inner = Field("at", LogicalType.STRING)
    old = Field("stops", LogicalType.ARRAY, items=Field("item", LogicalType.STRUCT, fields=(inner,)))
    new = replace(old, items=Field("item", LogicalType.STRUCT, fields=(replace(inner, type=LogicalType.TIMESTAMP),)))
    changes = compare_contracts(Contract("t", "1.0", (old,)), Contract("t", "1.1", (new,)))
    assert [change.path for change in changes] == ["stops[].at"]


def test_another_key_breaks() -> None:
    assert breaking(replace(OLD, dedup=Dedup(("id",)))) == ["dedup changed from none to the key (id)"]


def test_versions_sort_as_numbers() -> None:
    assert sorted(["1.10", "1.9", "2.0", "1.9.1"], key=version_order) == ["1.9", "1.9.1", "1.10", "2.0"]
    assert major("12.3.4") == "12"
