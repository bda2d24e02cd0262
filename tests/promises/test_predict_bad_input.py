"""Whatever a caller sends, a model is asked only what it can answer: mistakes are named by row and field.

Every mistake of this table is 422 on our own route and 400 with the protocol's error on ``/v2``, never a failure of the
server, and a good request right after each is answered.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.builders.fleet import HEADERS, Fleet
from tests.builders.models import make_model, make_version, numbers
from tests.builders.onnx_models import linear
from tests.fakes.control import FakeControl
from tests.fakes.process import running

from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.services import inference

WIDTH = 30
NAMES = [f"f{at}" for at in range(WIDTH)]
GOOD = [float(at) for at in range(WIDTH)]
TOTAL = sum(GOOD)
REFERENCE = Path(__file__).parents[2] / "docs/reference/predictions.md"
V2 = "/v2/models/delay/infer"


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    control, settings = FakeControl(), Settings(home=tmp_path)
    control.establish_trust(Home(tmp_path))
    version = make_version(settings, artifact=linear([1.0] * WIDTH), fields=numbers(*NAMES))
    async with running(tmp_path, control, inference.create) as process:
        fleet = Fleet(process, control)
        await fleet.deploy(make_model(version))
        yield fleet


def named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(NAMES, row, strict=False))


def changed(at: int, value: Any) -> list[Any]:
    return [*GOOD[:at], value, *GOOD[at + 1 :]]


def text(rows: list[Any], member: str = "rows") -> bytes:
    """Return a body; values given as bytes are written as they are, JSON or not."""
    marked = json.dumps({member: rows}, default=lambda raw: f"<<{raw.decode()}>>")
    return marked.replace('"<<', "").replace('>>"', "").encode()


# What is wrong; the bad row by name, the same by position, the field that is named.
ROWS: list[tuple[str, Any, Any, str]] = [
    ("29 features", named(GOOD[:-1]), GOOD[:-1], "/f29"),
    ("a string in a cell", named(changed(7, "wide")), changed(7, "wide"), "/f7"),
    ("null in a cell", named(changed(7, None)), changed(7, None), "/f7"),
    ("NaN", named(changed(7, b"NaN")), changed(7, b"NaN"), "/f7"),
    ("Infinity", named(changed(7, b"Infinity")), changed(7, b"Infinity"), "/f7"),
    ("-Infinity", named(changed(7, b"-Infinity")), changed(7, b"-Infinity"), "/f7"),
    ("an empty row", {}, [], "/f0"),
    ("a number in quotes", named(changed(7, "1.5")), changed(7, "1.5"), "/f7"),
    ("an unknown key, or one value more", named(GOOD) | {"extra": 1}, [*GOOD, 1.0], "/extra /30"),
    ("a boolean", named(changed(7, True)), changed(7, True), "/f7"),
    ("a list in a cell", named(changed(7, [1])), changed(7, [1]), "/f7"),
    ("a number beyond the model", named(changed(7, 1e300)), changed(7, 1e300), "/f7"),
    ("no row at all", 7, 7, " "),
]


@pytest.mark.parametrize(("by_name", "by_position", "paths"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_a_bad_row_is_named_with_its_field(fleet: Fleet, by_name: Any, by_position: Any, paths: str) -> None:
    for body in (text([named(GOOD), by_name]), text([GOOD, by_position], "inputs")):
        reply = await fleet.predict(body)
        problem = reply.json()
        assert (reply.status_code, problem["code"]) == (422, "input_invalid"), problem
        assert [row["row"] for row in problem["errors"]] == [1]
        assert problem["errors"][0]["errors"][0]["path"] in paths.split(" ")
        await _is_well(fleet)


async def test_json_that_ends_too_early_is_refused(fleet: Fleet) -> None:
    for body in (text([named(GOOD)]), text([GOOD], "inputs")):
        reply = await fleet.predict(body[:-40])
        assert (reply.status_code, reply.json()["code"]) == (400, "malformed_body")
        await _is_well(fleet)


#: What the table of the reference says of our columns: the row of ROWS, and the tensor of TENSORS, that show it.
DOCUMENTED = {
    "29 features": ("29 features", "29 features"),
    "a string in a cell": ("a string in a cell", "a string in a cell"),
    "null in a cell": ("null in a cell", "null in a cell"),
    "NaN or Infinity": ("NaN", "Infinity"),
    "an empty row": ("an empty row", "an empty row"),
    "a number in quotes": ("a number in quotes", "a number in quotes"),
    "an unknown key": ("an unknown key, or one value more", "a tensor too many"),
}


def documented() -> dict[str, tuple[str, str]]:
    """Return our two columns of the table in the reference, by what was sent."""
    _, _, table = REFERENCE.read_text().partition("| sent | Headwater |")
    rows = [line.strip("|").split("|") for line in table.partition("\n\n")[0].splitlines()[2:]]
    return {row[0].strip(): (row[1].strip(), row[2].strip()) for row in rows}


async def test_the_reference_says_what_happens(fleet: Fleet) -> None:
    table = documented()
    by_name = {row[0]: row[1] for row in ROWS}
    tensors = {row[0]: row[1] for row in TENSORS}
    for sent, (ours, theirs) in DOCUMENTED.items():
        reply = await fleet.predict(text([named(GOOD), by_name[ours]]))
        (row,) = reply.json()["errors"]
        said = f"{reply.status_code} row {row['row']} `{row['errors'][0]['path']}`"
        answer = await fleet.process.http.post(V2, content=tensors[theirs], headers=HEADERS)
        assert table.pop(sent) == (said, f"{answer.status_code} {_named_in(answer.json()['error'])}"), sent
    for_us = (await fleet.predict(text([named(GOOD)])[:-40])).json()
    assert (for_us["status"], "truncated" in for_us["detail"]) == (400, True)
    answer = await fleet.process.http.post(V2, content=tensors["JSON that ends too early"], headers=HEADERS)
    assert (answer.status_code, "truncated" in answer.json()["error"]) == (400, True)
    assert table.pop("JSON that ends too early") == ("400 truncated", "400 truncated")
    assert list(table) == ["the model's process killed"]  # tests/integration/test_isolated_serving.py


def _named_in(error: str) -> str:
    """Return what an error of the protocol, which has no members for it, names."""
    found = re.search(r"row \d+", error)
    names = {"its shape is": "the shape", "no rows": "no rows", "'extra'": "its name"}
    return found[0] if found else next(name for words, name in names.items() if words in error)


def matrix(values: bytes, shape: list[int] | None = None, datatype: str = "FP64") -> bytes:
    shape = shape or [2, WIDTH]
    return b'{"inputs": [{"name": "inputs", "shape": %b, "datatype": "%b", "data": %b}]}' % (
        json.dumps(shape).encode(),
        datatype.encode(),
        values,
    )


def flat(at: int, value: Any) -> bytes:
    """Return two rows as one list, the second one changed."""
    marked = json.dumps([*GOOD, *changed(at, value)], default=lambda raw: f"<<{raw.decode()}>>")
    return marked.replace('"<<', "").replace('>>"', "").encode()


EXTRA = b', {"name": "extra", "shape": [2, 1], "datatype": "FP64", "data": [1.0, 1.0]}]}'
TENSORS: list[tuple[str, bytes, str]] = [
    ("29 features", matrix(json.dumps(GOOD[:-1]).encode(), [1, 29]), "its shape is [1, 29] and must be [rows, 30]"),
    ("a string in a cell", matrix(flat(7, "wide")), "row 1: 'wide' is no FP64"),
    ("null in a cell", matrix(flat(7, None)), "row 1: null is no FP64"),
    ("NaN", matrix(flat(7, b"NaN")), "input 'inputs' row 1: NaN is not a JSON number"),
    ("Infinity", matrix(flat(7, b"Infinity")), "input 'inputs' row 1: Infinity is not a JSON number"),
    ("JSON that ends too early", matrix(flat(7, 1.0))[:-40], "not JSON"),
    ("-Infinity", matrix(flat(7, b"-Infinity")), "input 'inputs' row 1: -Infinity is not a JSON number"),
    ("31 features", matrix(json.dumps([*GOOD, 1.0]).encode(), [1, 31]), "its shape is [1, 31] and must be [rows, 30]"),
    ("a row too short", matrix(json.dumps(GOOD[:-1]).encode(), [1, WIDTH]), "30"),
    ("a boolean", matrix(flat(7, True)), "row 1: true is no FP64"),
    ("a list in a cell", matrix(flat(7, [1])), "row 1"),
    ("an empty row", matrix(b"[]", [0, WIDTH]), "no rows"),
    ("a number in quotes", matrix(flat(7, "1.5")), "row 1: '1.5' is no FP64"),
    ("an unknown tensor", matrix(flat(7, 1.0)).replace(b'"inputs", "shape"', b'"extra", "shape"'), "'extra'"),
    ("a tensor too many", matrix(flat(7, 1.0))[:-2] + EXTRA, "'extra'"),
    ("a number beyond the model", matrix(flat(7, 1e300)), "'f7' row 1"),
]


@pytest.mark.parametrize(("body", "words"), [row[1:] for row in TENSORS], ids=[row[0] for row in TENSORS])
async def test_a_bad_tensor_is_named_with_its_row(fleet: Fleet, body: bytes, words: str) -> None:
    reply = await fleet.process.http.post(V2, content=body, headers=HEADERS)
    assert reply.status_code == 400
    assert set(reply.json()) == {"error"}
    assert words in reply.json()["error"]
    await _is_well(fleet)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
async def test_bytes_that_are_no_number_a_model_takes_are_named_with_row_and_field(fleet: Fleet, value: float) -> None:
    values = np.array([GOOD, changed(7, value)], np.float64).tobytes()
    tensor = {
        "name": "inputs",
        "shape": [2, WIDTH],
        "datatype": "FP64",
        "parameters": {"binary_data_size": len(values)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = HEADERS | {"inference-header-content-length": str(len(head))}
    reply = await fleet.process.http.post(V2, content=head + values, headers=headers)
    assert reply.status_code == 400
    assert "input 'f7' row 1: " in reply.json()["error"]
    await _is_well(fleet)


async def test_mistakes_beside_good_requests_spoil_nothing_for_them(fleet: Fleet) -> None:
    bad = [text([named(GOOD), row[1]]) for row in ROWS]
    good = [text([named(changed(0, float(number)))]) for number in range(len(bad))]
    replies = await asyncio.gather(*(fleet.predict(body) for pair in zip(bad, good, strict=True) for body in pair))
    assert [reply.status_code for reply in replies] == [422, 200] * len(bad)
    for number, reply in enumerate(replies[1::2]):
        assert reply.json()["predictions"][0]["outputs"]["score"] == TOTAL + number


async def _is_well(fleet: Fleet) -> None:
    reply = await fleet.predict({"rows": [named(GOOD)]})
    assert reply.status_code == 200
    assert reply.json()["predictions"][0]["outputs"]["score"] == TOTAL
    tensor = {"name": "inputs", "shape": [1, WIDTH], "datatype": "FP64", "data": GOOD}
    reply = await fleet.process.http.post(V2, json={"inputs": [tensor]}, headers=HEADERS)
    assert reply.json()["outputs"][0]["data"] == [TOTAL]
