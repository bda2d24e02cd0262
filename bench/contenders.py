"""Inference servers with the same model behind each, ready to be asked the same question.

The same gradient boosting on breast-cancer data everywhere. Headwater authenticates, validates by name, shares its
traffic with a canary, shows it to a shadow, logs every prediction durably and profiles it; the others do none of that.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness import HEADWATER, HERE, Load, free_port, median, peer_python, post, server
from system import System, headwater, project_of

TOLERANCE = 1e-4
JSON = {"Content-Type": "application/json"}
Read = Callable[[bytes], Sequence[float]]


@dataclass(frozen=True)
class Case:
    """What a contender is asked: how many rows, in its own form."""

    body: bytes
    headers: Mapping[str, str]
    url: str
    read: Read


@dataclass
class Contender:
    """A server: its cases by number of rows, its processes, and the loads measured by (rows, connections)."""

    name: str
    pid: int
    cases: Mapping[int, Case]
    loads: dict[tuple[int, int], list[Load]] = field(default_factory=dict)
    cpu_us: dict[tuple[int, int], list[float]] = field(default_factory=dict)

    def per_second(self, rows: int, connections: int) -> float:
        return median([load.per_second for load in self.loads[rows, connections]])

    def p99_ms(self, rows: int, connections: int) -> float:
        return median([load.p99_ms for load in self.loads[rows, connections]])

    def processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def pss_mb(self) -> float:
        """Return the proportional memory of its processes: shared pages are counted once."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total / 2**20

    def check(self, expected: Sequence[float]) -> None:
        """Raise unless every case is answered as the reference says."""
        for rows, case in self.cases.items():
            status, answer = post(case.url, case.body, case.headers)
            if status != 200:
                raise RuntimeError(f"{self.name} answered {status}: {answer[:300]!r}")
            found = case.read(answer)
            worst = max(abs(a - b) for a, b in zip(found, expected[:rows], strict=True))
            if worst > TOLERANCE:
                raise RuntimeError(f"{self.name} is off by {worst} on {rows} rows")


def train(python: Path | str, directory: Path) -> Path:
    """Train in an environment's own scikit-learn: a pickle fits no other."""
    subprocess.run([str(python), str(HERE / "train.py"), str(directory)], check=True, capture_output=True)
    return directory


@contextlib.contextmanager
def contenders(directory: Path, sizes: Sequence[int]) -> Iterator[tuple[list[Contender], Sequence[float]]]:
    """Start everything; yield the contenders, the ceiling first, and the reference answers of the rows asked about."""
    own = train(sys.executable, directory / "own")
    reference = json.loads((own / "ref.json").read_text())
    asked = {size: reference["rows"][:size] for size in sizes}
    matrices = {size: json.dumps({"inputs": rows}).encode() for size, rows in asked.items()}
    with contextlib.ExitStack() as stack:
        found = [_ceiling(stack, matrices)]
        found += _headwater(stack, own, reference["names"], asked)
        found += _fastapi(stack, own, matrices)
        found.append(_mlserver(stack, directory, asked))
        found.append(_bentoml(stack, directory, matrices))
        found.append(_litserve(stack, directory, matrices))
        found.append(_mlflow(stack, directory, matrices))
        found.append(_ray(stack, directory, matrices))
        yield found, reference["ref"]["gbc"]


def _cases(url: str, bodies: Mapping[int, bytes], read: Read, headers: Mapping[str, str] = JSON) -> dict[int, Case]:
    return {size: Case(body, headers, url, read) for size, body in bodies.items()}


def _ceiling(stack: contextlib.ExitStack, bodies: Mapping[int, bytes]) -> Contender:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "raw_asgi:app", "--port", str(port), "--no-access-log"]
    process = stack.enter_context(server(command, f"http://127.0.0.1:{port}/", cwd=HERE / "peers"))
    # It answers a constant, whatever the question.
    cases = _cases(f"http://127.0.0.1:{port}/", bodies, lambda _answer: [])
    return Contender("raw ASGI (ceiling)", process.pid, cases)


def _headwater(
    stack: contextlib.ExitStack, models: Path, names: Sequence[str], asked: Mapping[int, list[list[float]]]
) -> list[Contender]:
    project = model_project(models, names)
    system = stack.enter_context(headwater(project))
    _share_traffic(system, project, models)
    pid = system.pids()["services"]
    return [
        Contender(f"headwater, {name}", pid, cases) for name, cases in headwater_cases(system, names, asked).items()
    ]


def headwater_cases(
    system: System, names: Sequence[str], asked: Mapping[int, Sequence[Sequence[float]]]
) -> dict[str, dict[int, Case]]:
    """Return the cases of each form in which Headwater is asked."""
    headers = JSON | system.headers
    named = {
        size: json.dumps({"rows": [dict(zip(names, row, strict=True)) for row in rows]}).encode()
        for size, rows in asked.items()
    }
    matrices = {size: json.dumps({"inputs": rows}).encode() for size, rows in asked.items()}
    v2 = {size: json.dumps({"inputs": [_tensor(rows)]}).encode() for size, rows in asked.items()}
    url = f"{system.url}/v1/models/cancer/predict"
    isolated = f"{system.url}/v1/models/cancer_sklearn/predict"
    infer = f"{system.url}/v2/models/cancer/infer"
    return {
        "named rows": _cases(url, named, _read_own, headers),
        "matrix": _cases(url, matrices, _read_own, headers),
        "V2 JSON": _cases(infer, v2, _read_v2, headers),
        "V2 binary": {size: _binary(infer, rows, system) for size, rows in asked.items()},
        "scikit-learn isolated": _cases(isolated, matrices, _read_own, headers),
    }


def model_project(models: Path, names: Sequence[str]) -> Path:
    """Return a project directory with the model as ONNX and as scikit-learn wrote it."""
    inputs = "\n".join(f"  - {{name: {name}, logicalType: number, required: true}}" for name in names)

    def manifest(name: str, framework: str, artifact: str, output: str, options: str = "") -> str:
        return (
            f"name: {name}\nframework: {framework}\nartifact: {artifact}\n{options}inputs:\n{inputs}\n"
            f"outputs:\n  - {{name: benign, type: number, source: {output}, index: 1}}\n"
        )

    return project_of(
        {
            "models/cancer/model.yaml": manifest("cancer", "onnx", "model.onnx", "probabilities"),
            "models/cancer/model.onnx": (models / "gbc.onnx").read_bytes(),
            "models/cancer_sklearn/model.yaml": manifest(
                "cancer_sklearn", "sklearn", "model.skops", "predict_proba", "options: {method: predict_proba}\n"
            ),
            "models/cancer_sklearn/model.skops": (models / "gbc.skops").read_bytes(),
        }
    )


def _share_traffic(system: System, project: Path, models: Path) -> None:
    """Give a second version a tenth of the traffic, and show a tenth to a third that answers nobody."""
    directory = project / "models" / "cancer"
    for artifact, share in (
        ("gbc_canary.onnx", ["--weight", "10%"]),
        ("gbc_shadow.onnx", ["--shadow", "--weight", "10%"]),
    ):
        (directory / "model.onnx").write_bytes((models / artifact).read_bytes())
        pushed = command(system, project, "models", "push", str(directory), "--hold", "--json")
        version = json.loads(pushed)["version"]
        command(system, project, "models", "promote", f"cancer:{version}", *share)


def command(system: System, project: Path, *arguments: str) -> str:
    """Run ``headwater`` against a system and return what it printed."""
    words = [str(HEADWATER), *arguments, "--home", str(system.home), "--project", str(project)]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout


def _tensor(rows: Sequence[Sequence[float]], name: str = "inputs") -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"name": name, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}


def _binary(url: str, rows: Sequence[Sequence[float]], system: System) -> Case:
    """Return the same question with the binary-tensor extension, answered in binary too."""
    data = struct.pack(f"<{len(rows) * len(rows[0])}f", *(value for row in rows for value in row))
    tensor = _tensor(rows) | {"parameters": {"binary_data_size": len(data)}}
    del tensor["data"]
    outputs = [{"name": "benign", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
        **system.headers,
    }
    size = len(rows)

    def read(answer: bytes) -> Sequence[float]:
        _, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
        kind = "d" if len(answer) - end == 8 * size else "f"
        return struct.unpack(f"<{size}{kind}", answer[end:])

    return Case(head + data, headers, url, read)


def _read_own(answer: bytes) -> Sequence[float]:
    return [item["outputs"]["benign"] for item in json.loads(answer)["predictions"]]


def _read_v2(answer: bytes) -> Sequence[float]:
    return list(json.loads(answer)["outputs"][0]["data"])


def _read_predictions(answer: bytes) -> Sequence[float]:
    return list(json.loads(answer)["predictions"])


def _fastapi(stack: contextlib.ExitStack, models: Path, bodies: Mapping[int, bytes]) -> list[Contender]:
    found = []
    for name, backend, path in (
        ("fastapi + sklearn", "sk", "/predict"),
        ("async fastapi + onnx", "onnx", "/predict_async"),
    ):
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "predict_fastapi:app", "--port", str(port), "--no-access-log"]
        env = {"MODELS": str(models), "MODEL": "gbc", "BACKEND": backend}
        ready = f"http://127.0.0.1:{port}/openapi.json"
        process = stack.enter_context(server(command, ready, env=env, cwd=HERE / "peers"))
        cases = _cases(f"http://127.0.0.1:{port}{path}", bodies, _read_predictions)
        found.append(Contender(name, process.pid, cases))
    return found


def _mlserver(
    stack: contextlib.ExitStack, directory: Path, asked: Mapping[int, Sequence[Sequence[float]]]
) -> Contender:
    python = peer_python("mlserver")
    models = train(python, directory / "mlserver")
    home = directory / "mlserver-home"
    home.mkdir()
    ports = [free_port() for _ in range(3)]
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    settings |= dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    (home / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "gbc",
        "implementation": "predict_mlserver.OnnxModel",
        "parameters": {"uri": str(models / "gbc.onnx")},
    }
    (home / "model-settings.json").write_text(json.dumps(model))
    command = [python.with_name("mlserver"), "start", str(home)]
    env = {"PYTHONPATH": str(HERE / "peers")}
    ready = f"http://127.0.0.1:{ports[0]}/v2/health/ready"
    process = stack.enter_context(server(command, ready, env=env, cwd=home))
    bodies = {size: json.dumps({"inputs": [_tensor(rows)]}).encode() for size, rows in asked.items()}
    url = f"http://127.0.0.1:{ports[0]}/v2/models/gbc/infer"
    return Contender("mlserver, V2 JSON", process.pid, _cases(url, bodies, lambda answer: _read_v2(answer)[1::2]))


def _bentoml(stack: contextlib.ExitStack, directory: Path, bodies: Mapping[int, bytes]) -> Contender:
    python = peer_python("bentoml")
    models = train(python, directory / "bentoml")
    port = free_port()
    command = [python.with_name("bentoml"), "serve", "predict_bentoml:Service", "--port", str(port)]
    env = {"ONNX_MODELS": str(models), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(directory / "bento-home")}
    process = stack.enter_context(server(command, f"http://127.0.0.1:{port}/readyz", env=env, cwd=HERE / "peers"))
    return Contender("bentoml", process.pid, _cases(f"http://127.0.0.1:{port}/predict", bodies, json.loads))


def _litserve(stack: contextlib.ExitStack, directory: Path, bodies: Mapping[int, bytes]) -> Contender:
    python = peer_python("litserve")
    models = train(python, directory / "litserve")
    port = free_port()
    command = [python, "predict_litserve.py", str(port)]
    ready = f"http://127.0.0.1:{port}/health"
    process = stack.enter_context(server(command, ready, env={"ONNX_MODELS": str(models)}, cwd=HERE / "peers"))
    return Contender("litserve", process.pid, _cases(f"http://127.0.0.1:{port}/predict", bodies, _read_predictions))


def _mlflow(stack: contextlib.ExitStack, directory: Path, bodies: Mapping[int, bytes]) -> Contender:
    python = peer_python("mlflow")
    models = train(python, directory / "mlflow")
    saved = directory / "mlflow-model"
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin"}
    subprocess.run([python, HERE / "peers" / "save_mlflow.py", models, saved], check=True, capture_output=True)
    port = free_port()
    command = [python.with_name("mlflow"), "models", "serve", "-m", saved, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = stack.enter_context(server(command, f"http://127.0.0.1:{port}/ping", env=env))

    def read(answer: bytes) -> Sequence[float]:
        return [pair[1] for pair in json.loads(answer)["predictions"]]

    cases = _cases(f"http://127.0.0.1:{port}/invocations", bodies, read)
    return Contender("mlflow, scikit-learn", process.pid, cases)


def _ray(stack: contextlib.ExitStack, directory: Path, bodies: Mapping[int, bytes]) -> Contender:
    python = peer_python("rayserve")
    models = train(python, directory / "ray")
    port = free_port()
    env = {"MODELS": str(models), "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [python, "predict_ray.py", str(port)]
    process = stack.enter_context(
        server(command, f"http://127.0.0.1:{port}/-/routes", env=env, cwd=HERE / "peers", wait_seconds=180)
    )
    return Contender("ray serve", process.pid, _cases(f"http://127.0.0.1:{port}/predict", bodies, _read_predictions))
