from __future__ import annotations

import json
from datetime import timedelta

import pytest
from tests.builders.contracts import make_every_type

from headwater.contracts.durations import format_duration, parse_duration
from headwater.contracts.model import Contract, Dedup, Field, Lateness, LogicalType
from headwater.contracts.spec import contract_from_spec, contract_to_spec, field_from_spec, field_to_spec

FIELD = Field("a", LogicalType.STRING)


@pytest.mark.parametrize(
    "contract",
    [
        make_every_type(event_time="at", lateness=Lateness(allowed=timedelta(days=30), max_skew=None)),
        Contract(
            "b",
            "1.0",
            (FIELD,),
            dedup=Dedup(("a",), within=timedelta(days=7)),
            quarantine_retention=None,
            rest='{"root":{"id":"x"}}',
        ),
    ],
)
def test_a_contract_survives_its_plain_form(contract: Contract) -> None:
    assert contract_from_spec(json.loads(json.dumps(contract_to_spec(contract)))) == contract


def test_members_that_a_reader_does_not_know_are_ignored() -> None:
    spec = contract_to_spec(make_every_type())
    spec["future"] = {"a": 1}
    spec["fields"][0]["colour"] = "red"
    spec["fields"][0]["constraints"]["mood"] = "good"
    spec["lateness"] = {"grace": "1h"}
    assert contract_from_spec(spec) == make_every_type()


def test_a_field_survives_its_plain_form() -> None:
    for field in make_every_type().fields:
        assert field_from_spec(field_to_spec(field)) == field


@pytest.mark.parametrize("text", ["7d", "90m", "1500ms", "1us", "36h", "0s"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "999999999999w", "7 d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
