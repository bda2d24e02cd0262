"""What every framework promises: its own library's answers, whatever the number of rows; and that it can be let go."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.builders.executors import open_file, spec_of
from tests.builders.frameworks import NUMBERS, TEXTS, Framed, mixed, numbers
from tests.builders.onnx_models import by_field, linear
from tests.fakes.oip_server import oip_server

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.protocol import AsyncExecutor, Executor

Opened = Executor | AsyncExecutor
PLAIN = [*NUMBERS, "remote-json", "remote-binary"]


@contextmanager
def _build(name: str, kind: str, directory: Path) -> Iterator[Framed]:
    """Yield a model of numbers alone, or of texts too, of a framework; ``remote`` is that of ONNX on another server."""
    builders = NUMBERS if kind == "numbers" else TEXTS
    if not name.startswith("remote"):
        yield builders[name](directory)
        return
    artifact = linear([1, 10]) if kind == "numbers" else by_field()
    with oip_server(artifact, extensions=["binary_tensor_data"] if name == "remote-binary" else []) as server:
        local = builders["onnx"](directory)
        yield dataclasses.replace(
            local, framework="remote", artifact=None, options={"url": server.url, "model": "delay", "version": "3"}
        )


@pytest.fixture(params=PLAIN)
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Framed]:
    with _build(request.param, "numbers", tmp_path) as model:
        yield model


@pytest.fixture(params=[*TEXTS, "remote-json", "remote-binary"])
def texts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Framed]:
    with _build(request.param, "texts", tmp_path) as model:
        yield model


@asynccontextmanager
async def _opened(model: Framed, **changes: Any) -> AsyncIterator[Opened]:
    model = dataclasses.replace(model, **changes)
    executor = open_file(
        spec_of(model.framework, model.fields, model.outputs, options=model.options), model.artifact, model.fields
    )
    try:
        yield executor
    finally:
        if model.framework != "onnx":
            cast("AsyncExecutor", executor).close()
            await asyncio.sleep(0.01)  # its connections are closed on the loop


async def _ask(executor: Opened, fields: Sequence[Field], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    values = [[row[field.name] for field in fields] for row in rows]
    if executor.takes_matrix:
        found = executor.run_matrix(np.array(values, dtype=np.float64).astype(executor.dtype))
    else:
        found = executor.run_columns([list(column) for column in zip(*values, strict=True)])
    return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize("count", [1, 16, 1_000])
async def test_it_answers_as_its_own_library_does(plain: Framed, count: int) -> None:
    rows = numbers(count)
    async with _opened(plain) as executor:
        assert tuple(executor.output_names) == ("score",)
        assert len(executor.limits) == 2
        [scores] = await _ask(executor, plain.fields, rows)
    assert scores.shape == (count,)
    np.testing.assert_allclose(scores, plain.native(rows), rtol=plain.tolerance, atol=plain.tolerance)


@pytest.mark.parametrize("count", [1, 16, 1_000])
async def test_texts_are_answered_as_its_own_library_does(texts: Framed, count: int) -> None:
    rows = mixed(count)
    async with _opened(texts) as executor:
        assert not executor.takes_matrix
        [answers] = await _ask(executor, texts.fields, rows)
    np.testing.assert_allclose(answers, texts.native(rows), rtol=texts.tolerance, atol=texts.tolerance)


async def test_runs_at_once_each_get_their_own_rows(plain: Framed) -> None:
    rows = numbers(64)
    async with _opened(plain) as executor:
        parts = [rows[start : start + size] for start, size in ((0, 1), (1, 7), (8, 3), (11, 40), (51, 13))]
        found = await asyncio.gather(*(_ask(executor, plain.fields, part) for part in parts))
    answers = np.concatenate([scores for [scores] in found])
    np.testing.assert_allclose(answers, plain.native(rows), rtol=plain.tolerance, atol=plain.tolerance)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "python", "onnx"])
async def test_an_absent_number_is_a_missing_value(name: str, tmp_path: Path) -> None:
    model = NUMBERS[name](tmp_path)
    rows = [{"a": 1.0, "b": float("nan")}]
    optional = [dataclasses.replace(field, nullable=True) for field in model.fields]
    async with _opened(model, fields=optional) as executor:
        [scores] = await _ask(executor, optional, rows)
    np.testing.assert_allclose(scores, model.native(rows), rtol=model.tolerance)


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ([OutputSpec(name="score", type="number", shape=(3,))], "1 by 3"),
        ([OutputSpec(name="score", type="string")], "the signature says string"),
        ([OutputSpec(name="score", type="number", source="no_such", index=9)], "no_such"),
    ],
)
async def test_outputs_that_it_does_not_have_are_refused_when_it_is_opened(
    plain: Framed, outputs: list[OutputSpec], complaint: str
) -> None:
    if plain.framework == "sklearn" and outputs[0].source is None:
        outputs = [outputs[0].model_copy(update={"source": "predict"})]
    with pytest.raises(HeadwaterError) as refused:
        async with _opened(plain, outputs=outputs):
            pass
    assert refused.value.code == "model_unavailable"
    assert complaint in refused.value.detail
    assert refused.value.hint


# A class takes whatever columns there are.
@pytest.mark.parametrize("plain", [name for name in PLAIN if name != "python"], indirect=True)
async def test_inputs_of_another_number_are_refused_when_it_is_opened(plain: Framed) -> None:
    fields = [*plain.fields, Field("c", LogicalType.NUMBER)]
    with pytest.raises(HeadwaterError) as refused:
        async with _opened(plain, fields=fields):
            pass
    assert refused.value.code == "model_unavailable"
    assert "signature" in refused.value.detail


# What runs in this process is let go with its last reference.
@pytest.mark.parametrize("plain", [name for name in PLAIN if name != "onnx"], indirect=True)
async def test_who_was_let_go_answers_no_more(plain: Framed) -> None:
    async with _opened(plain) as executor:
        await _ask(executor, plain.fields, numbers(1))
        elsewhere = cast("AsyncExecutor", executor)
        elsewhere.close()
        elsewhere.close()
        with pytest.raises(HeadwaterError) as refused:
            await _ask(executor, plain.fields, numbers(1))
    assert refused.value.code == "model_unavailable"
