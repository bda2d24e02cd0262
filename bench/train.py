"""Train the benchmark's models on the breast-cancer data in the calling environment: joblib, ONNX, reference answers.

Usage: train.py DIRECTORY. A pickle must be trained by the scikit-learn that reads it, so every peer runs this itself.
"""

import contextlib
import json
import sys
from pathlib import Path

import joblib
import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

directory = Path(sys.argv[1])
directory.mkdir(parents=True, exist_ok=True)
data = load_breast_cancer()
features, labels = data.data.astype(np.float64), data.target
names = [str(name).replace(" ", "_") for name in data.feature_names]
reference = {}
for key, model in {
    "gbc": GradientBoostingClassifier(random_state=0),
    "rf": RandomForestClassifier(n_estimators=100, random_state=0),
}.items():
    model.fit(features, labels)
    joblib.dump(model, directory / f"{key}.joblib")
    onnx = to_onnx(
        model,
        initial_types=[("x", FloatTensorType([None, len(names)]))],
        options={id(model): {"zipmap": False}},
        target_opset=15,
    )
    (directory / f"{key}.onnx").write_bytes(onnx.SerializeToString())
    for role, opset in (("canary", 17), ("shadow", 16)):  # other bytes, the same answers
        other = to_onnx(
            model,
            initial_types=[("x", FloatTensorType([None, len(names)]))],
            options={id(model): {"zipmap": False}},
            target_opset=opset,
        )
        (directory / f"{key}_{role}.onnx").write_bytes(other.SerializeToString())
    with contextlib.suppress(ImportError):  # the peers' environments do not have it
        import skops.io

        skops.io.dump(model, directory / f"{key}.skops")
    reference[key] = model.predict_proba(features[:100])[:, 1].tolist()
(directory / "ref.json").write_text(json.dumps({"rows": features[:100].tolist(), "names": names, "ref": reference}))
