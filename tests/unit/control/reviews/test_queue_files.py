"""The example's queues are what the reader takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.control.reviews.conditions import ROW_NAMES, compile_condition
from headwater.control.reviews.files import parse_queue
from headwater.control.reviews.forms import check_answers, questions
from headwater.core.errors import HeadwaterError

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "flights" / "reviews").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_read(path: Path) -> None:
    queue = parse_queue(path.read_text(), source=f"reviews/{path.name}")
    assert queue.key == path.stem
    if queue.spec.unit == "row":
        assert compile_condition(queue.spec.condition, ROW_NAMES)({"code": "out_of_range"}) is True


def test_there_are_two_examples() -> None:
    assert {path.stem for path in EXAMPLES} == {"uncertain-delays", "broken-instruments"}


def test_a_form_becomes_questions_and_refuses_what_it_does_not_ask() -> None:
    from headwater.contracts.spec import contract_to_spec

    path = next(path for path in EXAMPLES if path.stem == "uncertain-delays")
    form = parse_queue(path.read_text(), source="reviews/x.yaml").form
    assert form is not None
    spec = contract_to_spec(form)
    assert [(one.name, one.kind, one.required) for one in questions(spec)] == [
        ("late", "boolean", True),
        ("probability", "number", False),
    ]
    assert check_answers(spec, {"late": True, "probability": 0.5}) == {"late": True, "probability": 0.5}
    for wrong in ({}, {"late": True, "probability": 2}, {"late": True, "more": 1}):
        with pytest.raises(HeadwaterError, match="answers"):
            check_answers(spec, wrong)


@pytest.mark.parametrize("text", ["", "- a", "source: nothing", "a: [", "source: quarantine\nsla: 99999d\n"])
def test_garbage_is_refused_with_a_line(text: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        parse_queue(text, source="reviews/x.yaml")
    assert caught.value.code == "project_invalid"
    assert caught.value.extra["errors"][0]["line"] >= 1
