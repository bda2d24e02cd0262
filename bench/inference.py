"""One-row predictions: Headwater beside FastAPI by hand, BentoML, LitServe and MLServer, one worker each.

The same gradient boosting on breast-cancer data everywhere, as ONNX, except for the plain FastAPI, which runs
scikit-learn as most teams do. Headwater authenticates, validates by name and logs every prediction durably; the others
do none of that. Answers are compared with the reference before anything is timed. Rounds alternate.
Run: ``python bench/inference.py [--rounds N] [--seconds N]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import HERE, Load, free_port, median, peer_python, post, print_table, server, write_results, wrk
from system import headwater, project_of

CONCURRENCIES = (1, 16, 64)
TOLERANCE = 1e-4
JSON = {"Content-Type": "application/json"}


@dataclass
class Contender:
    """A server with its request, how to read its answer, and what each round measured, by concurrency."""

    name: str
    url: str
    body: bytes
    read: Callable[[Any], float]
    headers: dict[str, str]
    loads: dict[int, list[Load]] = field(default_factory=dict)

    def per_second(self, connections: int) -> float:
        return median([load.per_second for load in self.loads[connections]])

    def check(self, expected: float) -> None:
        status, answer = post(self.url, self.body, self.headers)
        if status != 200 or abs(self.read(json.loads(answer)) - expected) > TOLERANCE:
            raise RuntimeError(f"{self.name} answered {status}: {answer[:300]!r}, expected {expected}")


def train(python: Path | str, directory: Path) -> Path:
    """Train in an environment's own scikit-learn: a pickle fits no other."""
    subprocess.run([str(python), str(HERE / "train.py"), str(directory)], check=True, capture_output=True)
    return directory


def model_project(models: Path, names: list[str]) -> Path:
    """Return a project directory with the model under Headwater's signature."""
    inputs = "\n".join(f"  - {{name: {name}, logicalType: number, required: true}}" for name in names)
    manifest = (
        "name: breast_cancer\nframework: onnx\nartifact: model.onnx\n"
        f"inputs:\n{inputs}\noutputs:\n  - {{name: benign, type: number, source: probabilities, index: 1}}\n"
    )
    artifact = (models / "gbc.onnx").read_bytes()
    return project_of({"models/breast_cancer/model.yaml": manifest, "models/breast_cancer/model.onnx": artifact})


@contextlib.contextmanager
def contenders(directory: Path) -> Iterator[tuple[list[Contender], float]]:
    """Start everything; yield the contenders and the reference answer of the row they are asked."""
    own = train(sys.executable, directory / "own")
    reference = json.loads((own / "ref.json").read_text())
    names, row = reference["names"], reference["rows"][0]
    matrix = json.dumps({"inputs": [row]}).encode()
    with contextlib.ExitStack() as stack:
        system = stack.enter_context(headwater(model_project(own, names)))
        found = [
            Contender(
                "headwater",
                f"{system.url}/v1/models/breast_cancer/predict",
                json.dumps({"rows": [dict(zip(names, row, strict=True))]}).encode(),
                lambda answer: answer["predictions"][0]["outputs"]["benign"],
                JSON | system.headers,
            )
        ]
        found += _fastapi(stack, own, matrix)
        found.append(_bentoml(stack, directory, matrix))
        found.append(_litserve(stack, directory, matrix))
        found.append(_mlserver(stack, directory, row))
        yield found, reference["ref"]["gbc"][0]


def _fastapi(stack: contextlib.ExitStack, models: Path, matrix: bytes) -> list[Contender]:
    found = []
    for name, backend, path in (
        ("fastapi + sklearn", "sk", "/predict"),
        ("async fastapi + onnx", "onnx", "/predict_async"),
    ):
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "predict_fastapi:app", "--port", str(port), "--no-access-log"]
        env = {"MODELS": str(models), "MODEL": "gbc", "BACKEND": backend}
        stack.enter_context(server(command, f"http://127.0.0.1:{port}/openapi.json", env=env, cwd=HERE / "peers"))
        url = f"http://127.0.0.1:{port}{path}"
        found.append(Contender(name, url, matrix, lambda answer: answer["predictions"][0], JSON))
    return found


def _bentoml(stack: contextlib.ExitStack, directory: Path, matrix: bytes) -> Contender:
    python = peer_python("bentoml")
    models = train(python, directory / "bentoml")
    port = free_port()
    command = [python.with_name("bentoml"), "serve", "predict_bentoml:Service", "--port", str(port)]
    env = {"ONNX_MODELS": str(models), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(directory / "bento-home")}
    stack.enter_context(server(command, f"http://127.0.0.1:{port}/readyz", env=env, cwd=HERE / "peers"))
    return Contender("bentoml", f"http://127.0.0.1:{port}/predict", matrix, lambda answer: answer[0], JSON)


def _litserve(stack: contextlib.ExitStack, directory: Path, matrix: bytes) -> Contender:
    python = peer_python("litserve")
    models = train(python, directory / "litserve")
    port = free_port()
    command = [python, "predict_litserve.py", str(port)]
    env = {"ONNX_MODELS": str(models)}
    stack.enter_context(server(command, f"http://127.0.0.1:{port}/health", env=env, cwd=HERE / "peers"))
    url = f"http://127.0.0.1:{port}/predict"
    return Contender("litserve", url, matrix, lambda answer: answer["predictions"][0], JSON)


def _mlserver(stack: contextlib.ExitStack, directory: Path, row: list[float]) -> Contender:
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
    stack.enter_context(server(command, f"http://127.0.0.1:{ports[0]}/v2/health/ready", env=env, cwd=home))
    body = {"inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}]}
    url = f"http://127.0.0.1:{ports[0]}/v2/models/gbc/infer"
    return Contender("mlserver", url, json.dumps(body).encode(), lambda answer: answer["outputs"][0]["data"][1], JSON)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with contenders(directory) as (found, expected):
            for contender in found:
                contender.check(expected)
            for number in range(options.rounds):
                for connections in CONCURRENCIES:
                    for contender in found:
                        _measure(contender, directory / f"{number}.json", connections, options.seconds)
    report(found)


def _measure(contender: Contender, body: Path, connections: int, seconds: int) -> None:
    body.write_bytes(contender.body)
    load = wrk(contender.url, body=body, headers=contender.headers, connections=connections, seconds=seconds)
    if load.errors:
        raise RuntimeError(f"{contender.name}: {load.errors} errors at concurrency {connections}")
    contender.loads.setdefault(connections, []).append(load)


def report(found: list[Contender]) -> None:
    ours = found[0]
    rows, results = [], {}
    for contender in found:
        ratios = {c: ours.per_second(c) / contender.per_second(c) for c in CONCURRENCIES}
        rows.append(
            [
                contender.name,
                *(f"{contender.per_second(c):,.0f}" for c in CONCURRENCIES),
                *(f"{ratio:.2f}" for ratio in ratios.values()),
            ]
        )
        results[contender.name] = {
            str(c): {
                "requests_per_second": round(contender.per_second(c)),
                "p50_ms": median([load.p50_ms for load in contender.loads[c]]),
                "p99_ms": median([load.p99_ms for load in contender.loads[c]]),
                "headwater_ratio": round(ratios[c], 2),
            }
            for c in CONCURRENCIES
        }
    header = ["requests/s", *(f"c={c}" for c in CONCURRENCIES), *(f"ratio c={c}" for c in CONCURRENCIES)]
    print_table("One-row predictions, median of rounds (ratio: Headwater over it)", header, rows)
    print(f"written to {write_results('inference', {'contenders': results})}")


if __name__ == "__main__":
    main()
