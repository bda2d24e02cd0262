"""What a team writes by hand: FastAPI, pydantic and scikit-learn (or ONNX). MODELS, MODEL=gbc|rf, BACKEND=sk|onnx."""

import os

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

MODELS, MODEL, BACKEND = os.environ["MODELS"], os.environ.get("MODEL", "gbc"), os.environ.get("BACKEND", "sk")

if BACKEND == "onnx":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{MODELS}/{MODEL}.onnx", options, providers=["CPUExecutionProvider"])

    def probability(rows: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"x": rows.astype(np.float32)})[0][:, 1]
else:
    model = joblib.load(f"{MODELS}/{MODEL}.joblib")

    def probability(rows: np.ndarray) -> np.ndarray:
        return model.predict_proba(rows)[:, 1]


class Inputs(BaseModel):
    inputs: list[list[float]]


class Outputs(BaseModel):
    predictions: list[float]


app = FastAPI()


@app.post("/predict")
def predict(request: Inputs) -> Outputs:
    return Outputs(predictions=probability(np.array(request.inputs)).tolist())


@app.post("/predict_async")
async def predict_async(request: Inputs) -> Outputs:
    return Outputs(predictions=probability(np.array(request.inputs)).tolist())
