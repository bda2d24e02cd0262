"""Whatever a caller sends, a model is asked only what it can answer: mistakes are named by row and field.

Every mistake of this table is 422 on our own route and 400 with the protocol's error on ``/v2``, never a failure of the
server, and a good request right after each is answered.
"""

from __future__ import annotations

import asyncio
import json
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


TENSORS: list[tuple[str, bytes, str]] = [
    ("29 features", matrix(json.dumps(GOOD[:-1]).encode(), [1, 29]), "its shape is [1, 29] and must be [rows, 30]"),
    ("a string in a cell", matrix(flat(7, "wide")), "row 1: 'wide' is no FP64"),
    ("null in a cell", matrix(flat(7, None)), "row 1: null is no FP64"),
    ("NaN", matrix(flat(7, b"NaN")), "input 'inputs' row 1: NaN is not a JSON number"),
    ("Infinity", matrix(flat(7, b"Infinity")), "input 'inputs' row 1: Infinity is not a JSON number"),
    ("JSON that ends too early", matrix(flat(7, 1.0))[:-40], "not JSON"),
    ("an empty row", matrix(b"[]", [0, WIDTH]), "no rows"),
    ("a number in quotes", matrix(flat(7, "1.5")), "row 1: '1.5' is no FP64"),
    ("an unknown tensor", matrix(flat(7, 1.0)).replace(b'"inputs", "shape"', b'"extra", "shape"'), "'extra'"),
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
