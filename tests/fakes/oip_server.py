"""A small server of the Open Inference Protocol around one ONNX model, which can be told to misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import onnxruntime
import orjson

HEADER = "Inference-Header-Content-Length"
TYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(int64)": "INT64", "tensor(string)": "BYTES"}
DTYPES: dict[str, Any] = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}


class OipServer(ThreadingHTTPServer):
    """``replies`` are given instead of answers, oldest first: a status and a body; None breaks the connection off."""

    daemon_threads = True

    def __init__(
        self, artifact: bytes, *, extensions: Sequence[str] = ("binary_tensor_data",), delay: float = 0
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
        self.extensions = list(extensions)
        self.delay = delay
        self.replies: list[tuple[int, bytes] | None] = []
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def oip_server(artifact: bytes, **options: Any) -> Iterator[OipServer]:
    server = OipServer(artifact, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OipServer

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if self.path == "/v2":
            self._send(200, orjson.dumps({"name": "fake", "extensions": self.server.extensions}))
        elif self.path in ("/v2/models/delay", "/v2/models/delay/versions/3"):
            self._send(200, orjson.dumps(self._metadata()))
        else:
            self._send(404, b'{"error": "no such model"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        time.sleep(self.server.delay)
        if self.server.replies:
            reply = self.server.replies.pop(0)
            if reply is None:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self._send(*reply)
            return
        length = self.headers.get(HEADER)
        size = int(length) if length else len(body)
        document = orjson.loads(body[:size])
        feeds = _read(document["inputs"], memoryview(body)[size:])
        names = [output["name"] for output in document["outputs"]]
        self._answer(names, self.server.session.run(names, feeds), is_binary=length is not None)

    def _metadata(self) -> dict[str, Any]:
        def describe(nodes: Sequence[Any]) -> list[dict[str, Any]]:
            return [
                {
                    "name": node.name,
                    "datatype": TYPES[node.type],
                    "shape": [size if isinstance(size, int) else -1 for size in node.shape],
                }
                for node in nodes
            ]

        session = self.server.session
        return {"name": "delay", "inputs": describe(session.get_inputs()), "outputs": describe(session.get_outputs())}

    def _answer(self, names: Sequence[str], arrays: Sequence[Any], *, is_binary: bool) -> None:
        outputs, parts = [], []
        for name, array in zip(names, arrays, strict=True):
            datatype = {"float32": "FP32", "int64": "INT64"}.get(array.dtype.name, "BYTES")
            output: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype}
            if is_binary:
                data = array.tobytes() if datatype != "BYTES" else _texts(array)
                output["parameters"] = {"binary_data_size": len(data)}
                parts.append(data)
            else:
                output["data"] = array.ravel().tolist()
            outputs.append(output)
        head = orjson.dumps({"model_name": "delay", "outputs": outputs})
        self._send(200, head + b"".join(parts), {HEADER: str(len(head))} if is_binary else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _read(inputs: Sequence[dict[str, Any]], rest: memoryview) -> dict[str, Any]:
    feeds: dict[str, Any] = {}
    for tensor in inputs:
        dtype = DTYPES[tensor["datatype"]]
        if "data" in tensor:
            array = np.array(tensor["data"], dtype=dtype)
        else:
            size = tensor["parameters"]["binary_data_size"]
            data, rest = rest[:size], rest[size:]
            array = np.array(_split(data), dtype=object) if dtype is object else np.frombuffer(data, dtype)
        feeds[tensor["name"]] = array.reshape(tensor["shape"])
    return feeds


def _texts(array: Any) -> bytes:
    texts = [str(text).encode() for text in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _split(data: memoryview) -> list[str]:
    texts, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        texts.append(bytes(data[at + 4 : at + 4 + size]).decode())
        at += 4 + size
    return texts
