"""Predictions chosen from the log by an expression, over real tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.unit.engines.monitoring.test_evidence import NOW, Lake

from headwater.core.errors import HeadwaterError
from headwater.engines.monitoring.selection import Selection, shown_prediction


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def chosen(lake: Lake, wanted: Selection, *, after: int = -1, limit: int = 100) -> tuple[list[str], int]:
    rows, position = lake.evidence.selected("env_1", lake.model, wanted, after=after, limit=limit)
    return [row["prediction_id"] for row in rows], position


def test_a_condition_chooses_among_inputs_and_outputs(lake: Lake) -> None:
    lake.log(
        {"prediction_id": "p0", "output_score": 0.45},
        {"prediction_id": "p1", "output_score": 0.95},
        {"prediction_id": "p2", "output_score": 0.55, "input_carrier": "AA"},
        {"prediction_id": "p3", "output_score": 0.5, "route": "shadow"},
        {"prediction_id": "p4", "output_score": math.nan},
    )
    between = "score > 0.4 and score < 0.6"
    assert chosen(lake, Selection(between)) == (["p0", "p2"], 4)
    assert chosen(lake, Selection(f"{between} and carrier = 'UA'")) == (["p0"], 4)
    assert chosen(lake, Selection("score is null")) == (["p4"], 4)


def test_what_was_read_is_not_read_again_and_nothing_between_is_lost(lake: Lake) -> None:
    assert chosen(lake, Selection("score > 0")) == ([], -1)
    lake.log(*[{"prediction_id": f"p{n}"} for n in range(5)])
    first, position = chosen(lake, Selection("score > 0"), limit=2)
    assert (first, position) == (["p0", "p1"], 1)
    lake.log({"prediction_id": "p5"})
    rest, position = chosen(lake, Selection("score > 0"), after=position)
    assert (rest, position) == (["p2", "p3", "p4", "p5"], 5)
    assert chosen(lake, Selection("score > 0"), after=position) == ([], 5)


def test_a_sample_is_the_same_every_time_and_about_its_share(lake: Lake) -> None:
    lake.log(*[{"prediction_id": f"p{n}"} for n in range(2_000)])
    half = chosen(lake, Selection(sample_bps=5_000), limit=2_000)[0]
    assert half == chosen(lake, Selection(sample_bps=5_000), limit=2_000)[0]
    assert 900 < len(half) < 1_100
    assert chosen(lake, Selection(sample_bps=0))[0] == []


def test_old_predictions_are_left_out_and_priorities_computed(lake: Lake) -> None:
    lake.log({"prediction_id": "old"}, {"prediction_id": "new", "output_score": 0.25})
    since = int(NOW.timestamp() * 1e6)
    assert chosen(lake, Selection(since_us=since + 1))[0] == []
    rows, _ = lake.evidence.selected("env_1", lake.model, Selection(priority="0 - score"), after=0, limit=5)
    shown = shown_prediction(rows[0])
    assert (shown["prediction_id"], shown["priority"], shown["seq"]) == ("new", -0.25, 1)
    assert shown["inputs"] == {"a": 1.0, "carrier": "UA"}
    assert shown["outputs"]["odd {x}"] == 2.0


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Selection("scores > 1"), "did you mean 'score'|there is no name"),
        (Selection("score"), "is a number"),
        (Selection("carrier > 1"), "character"),
        (Selection(priority="carrier"), "is a string"),
        (Selection("1 = 1); DROP TABLE log; --"), "character"),
    ],
)
def test_an_expression_that_does_not_fit_is_refused(lake: Lake, wanted: Selection, words: str) -> None:
    with pytest.raises(HeadwaterError, match=words) as caught:
        chosen(lake, wanted)
    assert caught.value.code == "invalid_parameter"
