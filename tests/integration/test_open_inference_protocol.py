"""The unmodified ``tritonclient.http`` against a services process."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from tests.builders.models import make_model, make_version
from tests.builders.onnx_models import by_field
from tests.builders.processes import ServicesProcess
from tests.builders.snapshots import KEY, make_snapshot
from tests.fakes.control import FakeControl
from tritonclient.utils import InferenceServerException

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.settings import Settings
from headwater.core.snapshot import OutputSpec
from headwater.services.kit.snapshot_store import SnapshotStore

TEXT_FIELDS = (
    Field("name", LogicalType.STRING),
    Field("amount", LogicalType.NUMBER, constraints=Constraints(le=100)),
    Field("count", LogicalType.INTEGER),
)
TEXT_OUTPUTS = (OutputSpec(name="total", type="number"), OutputSpec(name="echo", type="string"))


def key() -> dict[str, str]:
    """Return the headers anew: the client writes into those that it is given."""
    return {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServicesProcess]:
    home = _home(tmp_path_factory.mktemp("home"))
    with ServicesProcess(home, only=["inference"]) as process:
        process.wait_ready()
        yield process


def _home(path: Path) -> Path:
    control, home, settings = FakeControl(), Home(path), Settings(home=path)
    control.establish_trust(home)
    delay = make_model(make_version(settings, 1), make_version(settings, 2))
    text = make_version(settings, artifact=by_field(), fields=TEXT_FIELDS, outputs=TEXT_OUTPUTS)
    broken = make_version(settings, artifact=b"no onnx")
    models = [delay, make_model(text, name="text"), make_model(broken, name="broken")]
    snapshot = make_snapshot(1, models=models)
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, control.key), snapshot)
    return path


@pytest.fixture
def client(services: ServicesProcess) -> Iterator[Any]:
    client = triton.InferenceServerClient(f"127.0.0.1:{services.port}")
    yield client
    client.close()


def tensor(name: str, values: NDArray[Any], datatype: str, *, binary: bool) -> Any:
    return triton.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def matrix(values: Any, *, binary: bool, datatype: str = "FP32", name: str = "inputs") -> Any:
    dtype = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}[datatype]
    return tensor(name, np.array(values, dtype), datatype, binary=binary)


def refusal(client: Any, model: str, inputs: list[Any], **more: Any) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, inputs, headers=key(), **more)
    assert refused.value.status() == "400"
    good = client.infer("delay", [matrix([[1, 2]], binary=False)], headers=key())
    assert good.as_numpy("score").tolist() == [42]
    return refused.value


def test_it_says_what_it_is_and_that_it_is_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "headwater"
    assert "binary_tensor_data" in metadata["extensions"]


def test_models_and_versions_are_described_and_ready(client: Any) -> None:
    assert client.is_model_ready("delay", headers=key())
    assert client.is_model_ready("delay", "1", headers=key())
    assert not client.is_model_ready("delay", "9", headers=key())
    assert not client.is_model_ready("ghost", headers=key())
    assert not client.is_model_ready("broken", headers=key())
    assert not client.is_model_ready("delay")  # without a key
    metadata = client.get_model_metadata("text", headers=key())
    assert metadata["versions"] == ["1"]
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
        ("name", "BYTES", [-1]),
        ("amount", "FP64", [-1]),
        ("count", "INT64", [-1]),
    ]
    assert [each["name"] for each in metadata["outputs"]] == ["total", "echo"]
    delay = client.get_model_metadata("delay", "2", headers=key())
    assert delay["versions"] == ["1", "2"]
    assert delay["parameters"] == {"matrix_input": "inputs", "matrix_columns": 2}


def test_the_repository_lists_what_can_be_asked_and_why_not(client: Any) -> None:
    index = {(each["name"], each["version"]): each for each in client.get_model_repository_index(headers=key())}
    assert index["delay", "1"]["state"] == "READY"
    assert index["broken", "1"]["state"] == "UNAVAILABLE"
    assert "does not fit" in index["broken", "1"]["reason"]
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="configuration") as refused:
            change("delay", headers=key())
        assert refused.value.status() == "405"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64"])
def test_a_matrix_is_answered(client: Any, datatype: str, *, binary: bool) -> None:
    inputs = [matrix([[1, 2], [3, 4]], binary=binary, datatype=datatype)]
    outputs = [triton.InferRequestedOutput("score", binary_data=binary)]
    result = client.infer("delay", inputs, outputs=outputs, request_id="mine", headers=key())
    assert result.as_numpy("score").tolist() == [42, 86]
    reply = result.get_response()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("delay", "2", "mine")
    assert reply["parameters"]["route"] == "champion"
    assert len(set(reply["parameters"]["prediction_ids"].split(","))) == 2


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_tensor_for_each_input_is_answered(client: Any, shape: tuple[int, ...], *, binary: bool) -> None:
    inputs = [
        tensor("count", np.array([2, 3], np.int64).reshape(shape), "INT64", binary=binary),
        tensor("name", np.array(["a, b", "ü"], np.object_).reshape(shape), "BYTES", binary=binary),
        tensor("amount", np.array([0.5, 1.5], np.float64).reshape(shape), "FP64", binary=binary),
    ]
    result = client.infer("text", inputs, headers=key())
    assert result.as_numpy("total").tolist() == [2.5, 4.5]
    assert [text.decode() for text in result.as_numpy("echo").tolist()] == ["a, b", "ü"]


def test_a_version_is_asked_by_its_number(client: Any) -> None:
    result = client.infer("delay", [matrix([[1, 2]], binary=True)], model_version="1", headers=key())
    assert result.as_numpy("score").tolist() == [21]
    assert result.get_response()["parameters"]["route"] == "override"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_bodies_may_be_compressed_both_ways(client: Any, coding: str, *, binary: bool) -> None:
    result = client.infer(
        "delay",
        [matrix([[1, 2]] * 50, binary=binary)],
        headers=key(),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert result.as_numpy("score").tolist() == [42] * 50


@pytest.mark.parametrize("binary", [True, False])
def test_a_table_larger_than_a_batch_is_answered_in_its_order(client: Any, *, binary: bool) -> None:
    rows = [[number, 0] for number in range(3_000)]
    result = client.infer("delay", [matrix(rows, binary=binary)], headers=key())
    assert result.as_numpy("score").tolist() == [2 * number for number in range(3_000)]


@pytest.mark.parametrize("binary", [True, False])
def test_wrong_tensors_are_refused_by_name(client: Any, *, binary: bool) -> None:
    def one(values: Any, datatype: str = "FP32", name: str = "inputs") -> str:
        return str(refusal(client, "delay", [matrix(values, binary=binary, datatype=datatype, name=name)]))

    assert "its shape is [1, 3] and must be [rows, 2]" in one([[1, 2, 3]])
    assert "its shape is [2] and must be [rows, 2]" in one([1, 2])
    assert "there is no input 'x'" in one([[1, 2]], name="x")
    assert "there are no rows" in one(np.empty((0, 2)))
    assert "input 'b' is missing" in one([1, 2], name="a")
    assert "input 'a': its shape is [1, 2]" in one([[1, 2]], name="a")
    text = tensor("a", np.array(["x"], np.object_), "BYTES", binary=binary)
    assert "input 'a' is number and takes FP, INT, UINT, not BYTES" in str(refusal(client, "delay", [text]))
    uneven = [matrix([1, 2], binary=binary, name="a"), matrix([1], binary=binary, name="b")]
    assert "'a' 2, 'b' 1" in str(refusal(client, "delay", uneven))
    twice = [matrix([1], binary=binary, name="a"), matrix([1], binary=binary, name="a")]
    assert "'a' is there twice" in str(refusal(client, "delay", twice))
    wanted = {"outputs": [triton.InferRequestedOutput("ghost")]}
    assert "no output 'ghost'" in str(refusal(client, "delay", [matrix([[1, 2]], binary=binary)], **wanted))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_by_input_and_row(client: Any, value: float) -> None:
    error = refusal(client, "delay", [matrix([[1, 2], [3, value]], binary=True)])
    assert "input 'b' row 1: " in str(error)
    assert "is not a finite number" in str(error)
    columns = [matrix([1, value], binary=True, name="a"), matrix([1, 2], binary=True, name="b")]
    assert "input 'a' row 1: " in str(refusal(client, "delay", columns))


def test_bounds_of_the_contract_hold_for_tensors(client: Any) -> None:
    inputs = [
        tensor("name", np.array(["a", "b"], np.object_), "BYTES", binary=True),
        tensor("amount", np.array([1, 101], np.float64), "FP64", binary=True),
        tensor("count", np.array([1, 1], np.int64), "INT64", binary=True),
    ]
    assert "input 'amount' row 1: " in str(refusal(client, "text", inputs))
    inputs[1] = tensor("amount", np.array([1, 1], np.float64), "FP64", binary=True)
    inputs[2] = tensor("count", np.array([1.5, 1], np.float64), "FP64", binary=True)
    assert "input 'count' row 0: " in str(refusal(client, "text", inputs))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP128", "data": [1, 2]}, "no datatype 'FP128'"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [1]}, "1 values do not fill the shape"),
        ({"name": "inputs", "shape": [-1, 2], "datatype": "FP32", "data": [1]}, "not one of a tensor"),
        ({"name": "inputs", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, "x"]}, "row 1: 'x' is no FP32"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [1, "2"]}, "row 0: '2' is no FP32"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [1, True]}, "row 0: true is no FP32"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [1, None]}, "row 0: null is no FP32"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "INT8", "data": [1, 300]}, "row 0: 300 is no INT8"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": 7}, "data must be an array"),
        ({"name": "inputs", "shape": [1, 2], "datatype": "FP32"}, "neither data nor binary_data_size"),
        (
            {"name": "inputs", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            "binary_data_size is 8, and 0 bytes are left",
        ),
        (
            {"name": "inputs", "shape": [1, 2], "datatype": "FP32", "parameters": {"shared_memory_region": "x"}},
            "no shared memory",
        ),
        ({"name": "inputs", "shape": [1, 2]}, "`datatype`"),
    ],
)
def test_tensors_that_no_client_writes_are_refused(
    services: ServicesProcess, document: dict[str, Any], words: str
) -> None:
    reply = post(services, json.dumps({"inputs": [document]}).encode())
    assert reply.status_code == 400
    assert set(reply.json()) == {"error"}
    assert words in reply.json()["error"]


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"", {}, "no body"),
        (b'{"inputs": [', {}, "not JSON"),
        (b'{"inputs": []}', {}, "'inputs' is empty"),
        (b"[]", {}, "not as the protocol has it"),
        (b"{}", {"inference-header-content-length": "3"}, "Inference-Header-Content-Length"),
        (b"{}", {"inference-header-content-length": "x"}, "Inference-Header-Content-Length"),
        (b"no gzip", {"content-encoding": "gzip"}, "not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-3], {"content-encoding": "gzip"}, "not one whole gzip stream"),
        (
            b'{"inputs": [{"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [1, NaN]}]}',
            {},
            "NaN is not a JSON number",
        ),
    ],
)
def test_bodies_that_are_no_requests_are_refused(
    services: ServicesProcess, body: bytes, headers: dict[str, str], words: str
) -> None:
    reply = post(services, body, **headers)
    assert reply.status_code == 400
    assert words in reply.json()["error"]


def test_bytes_must_be_those_that_the_shape_needs(services: ServicesProcess) -> None:
    for shape, data, words in (
        ([1, 2], b"1234567", "7 bytes are not the 8 of FP32 [1, 2]"),
        ([1, 2], b"12345678z", "9 bytes are not the 8"),
    ):
        tensor = {"name": "inputs", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        reply = post(services, head + data, **{"inference-header-content-length": str(len(head))})
        assert (reply.status_code, words in reply.json()["error"]) == (400, True)
        reply = post(services, head + data + b"more", **{"inference-header-content-length": str(len(head))})
        assert reply.status_code == 400


def test_errors_beside_the_body_keep_their_status(client: Any, services: ServicesProcess) -> None:
    # Control is away here, so a model that is not known may be new.
    for model, headers, status in (("ghost", key(), "503"), ("broken", key(), "503"), ("delay", {}, "401")):
        with pytest.raises(InferenceServerException) as refused:
            client.infer(model, [matrix([[1, 2]], binary=True)], headers=headers)
        assert refused.value.status() == status
    with pytest.raises(InferenceServerException, match="nothing at") as refused:
        client.get_model_config("delay", headers=key())
    assert refused.value.status() == "404"
    reply = post(services, b"{}", url="/v2/models/delay/versions/9/infer")
    assert (reply.status_code, "has no version '9'" in reply.json()["error"]) == (503, True)


def test_nested_data_and_a_deadline_are_understood(services: ServicesProcess) -> None:
    nested = {"name": "inputs", "shape": [2, 2], "datatype": "FP64", "data": [[1, 2], [3, 4.0]]}
    reply = post(services, json.dumps({"inputs": [nested], "parameters": {"timeout": 5_000_000}}).encode())
    assert reply.json()["outputs"][0]["data"] == [42, 86]
    reply = post(services, json.dumps({"inputs": [nested], "parameters": {"timeout": "soon"}}).encode())
    assert reply.status_code == 400


def post(
    services: ServicesProcess, body: bytes, *, url: str = "/v2/models/delay/infer", **headers: str
) -> httpx.Response:
    return services.http.post(url, content=body, headers=key() | headers)
