"""The same model behind LitServe. ONNX_MODELS, MODEL=gbc|rf; argument: port."""

import os
import sys

import litserve
import numpy as np
import onnxruntime


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = f"{os.environ['ONNX_MODELS']}/{os.environ.get('MODEL', 'gbc')}.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict) -> np.ndarray:
        return np.array(request["inputs"], dtype=np.float32)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"x": rows})[0][:, 1]

    def encode_response(self, output: np.ndarray) -> dict:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
