"""Train the departure-delay model on what the platform holds, export it to ONNX, and push it.

The data comes from the query endpoint ``departures_for_training``, so the model learns from validated rows alone.
Run again, it finds the model in place and does nothing; remove ``models/departure_delay/model.onnx`` to train anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from progress import ProgressBar
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from headwater.client import Client

DIRECTORY = Path(__file__).parent / "models" / "departure_delay"
ARTIFACT = DIRECTORY / "model.onnx"
CATEGORIES = ("carrier", "origin")
FEATURES = (*CATEGORIES, "month", "weekday", "hour", "distance")
TREES = 80


def read_departures() -> tuple[pd.DataFrame, np.ndarray]:
    """Return features and labels of every departed flight, oldest first."""
    with Client(timeout_seconds=120) as client:
        table = client.query_arrow("departures_for_training")
    if table.num_rows == 0:
        sys.exit("train: there are no flights yet; run load.py first")
    frame = table.to_pandas()
    numbers = {name: "float32" for name in FEATURES if name not in CATEGORIES}
    return frame[list(FEATURES)].astype(numbers | dict.fromkeys(CATEGORIES, object)), frame["is_late"].to_numpy(bool)


def train(features: pd.DataFrame, labels: np.ndarray) -> tuple[Pipeline, float]:
    """Fit on a fifth of the flights and return the model with its ROC AUC on another fifth."""
    part = np.arange(len(features)) % 5
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)
    prepare = ColumnTransformer([("categories", encoder, list(CATEGORIES))], remainder="passthrough")
    trees = GradientBoostingClassifier(n_estimators=TREES, max_depth=4, learning_rate=0.2, random_state=0)
    pipeline = Pipeline([("prepare", prepare), ("trees", trees)])
    bar = ProgressBar("training", TREES)

    def show(number: int, *_: object) -> bool:
        bar.update(number + 1)
        return False

    pipeline.fit(features[part == 0], labels[part == 0], trees__monitor=show)
    return pipeline, float(roc_auc_score(labels[part == 1], pipeline.predict_proba(features[part == 1])[:, 1]))


def export(pipeline: Pipeline) -> bytes:
    """Return the model as ONNX with one named input a feature."""
    inputs = [(name, (StringTensorType if name in CATEGORIES else FloatTensorType)([None, 1])) for name in FEATURES]
    return bytes(
        to_onnx(pipeline, initial_types=inputs, options={"zipmap": False}, target_opset=17).SerializeToString()
    )


def main() -> int:
    """Train unless it was done before; push and promote. Return the exit code of the push."""
    if not ARTIFACT.exists():
        pipeline, score = train(*read_departures())
        ARTIFACT.write_bytes(export(pipeline))
        print(f"departure_delay: ROC AUC {score:.3f} on flights it has not seen", flush=True)
    headwater = Path(sys.executable).with_name("headwater")
    return subprocess.run([headwater, "models", "push", DIRECTORY], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
