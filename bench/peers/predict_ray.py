"""The same model as a Ray Serve deployment with one replica. MODELS; the port is the argument."""

import os
import sys
import time

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Service:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = f"{os.environ['MODELS']}/gbc.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        rows = np.array((await request.json())["inputs"], dtype=np.float32)
        return {"predictions": self.session.run(["probabilities"], {"x": rows})[0][:, 1].tolist()}


ray.init(
    _node_ip_address="127.0.0.1",
    include_dashboard=False,
    num_cpus=2,
    log_to_driver=False,
    object_store_memory=200 << 20,
    runtime_env={"env_vars": {"MODELS": os.environ["MODELS"]}},
)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Service.bind(), route_prefix="/predict")
while True:
    time.sleep(60)
