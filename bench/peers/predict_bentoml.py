"""The same model behind BentoML. ONNX_MODELS, MODEL=gbc|rf."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Service:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = f"{os.environ['ONNX_MODELS']}/{os.environ.get('MODEL', 'gbc')}.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @bentoml.api
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"x": inputs.astype(np.float32)})[0][:, 1]
