"""The two versions of the model: what each is made of, how it is fitted and measured, and what its directory holds."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import skops.io
import yaml
from frames import INPUTS, TEXTS, read_flights, typed, with_features
from progress import ProgressBar
from registry import CHALLENGER, CHAMPION, HERE, MODEL
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from headwater.client import Client

FIRST, LAST = "2013-03-01", "2013-06-30"
TREES: Final = 60
CODE: Final = "examples/flights/learn.py"
OUTPUT: Final = {
    "name": "late_probability",
    "type": "number",
    "description": "Chance of leaving more than 15 minutes late",
}
REFERENCE_ROWS: Final = 5_000
CARD: Final = """\
{how}, trained on every fourth flight from March to June 2013 that left New York ({rows:,} of them) and measured on
every eighth ({tested:,}) that it had not seen: ROC AUC {auc:.3f}, Brier score {brier:.3f}.

Cancelled flights have no delay and were left out. The weather is what was observed when the scheduled hour began; who
asks long before has a forecast at best, and will see worse. It has seen no winter.
"""


@dataclass(frozen=True)
class Data:
    """Flights to learn from and flights to measure on, both with their features."""

    seen: pd.DataFrame
    unseen: pd.DataFrame
    version: int


@dataclass(frozen=True)
class Candidate:
    """A way to make a version of the model; ``manifest`` and ``output`` are its own part of model.yaml."""

    how: str
    directory: Path
    manifest: Mapping[str, Any]
    output: dict[str, Any]
    trees: Any
    write: Callable[[Pipeline, Path], object]


def write_onnx(pipeline: Pipeline, path: Path) -> None:
    """Write a model as ONNX with one named input a feature."""
    inputs = [(name, (StringTensorType if name in TEXTS else FloatTensorType)([None, 1])) for name in INPUTS]
    graph = to_onnx(pipeline, initial_types=inputs, options={"zipmap": False}, target_opset=17)
    path.write_bytes(graph.SerializeToString())


CANDIDATES: Final = (
    Candidate(
        "Histogram gradient boosting as scikit-learn has it",
        CHALLENGER,
        {"framework": "sklearn", "artifact": "model.skops", "resources": {"memory_mb": 1024, "timeout_seconds": 10}},
        {"source": "predict_proba", "index": 1},
        HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=15, random_state=0),
        skops.io.dump,
    ),
    Candidate(
        "Gradient boosting, as ONNX",
        CHAMPION,
        {"framework": "onnx", "artifact": "model.onnx"},
        {"source": "probabilities", "index": 1},
        GradientBoostingClassifier(n_estimators=TREES, max_depth=4, learning_rate=0.2, subsample=0.5, random_state=0),
        write_onnx,
    ),
)


def read_data() -> Data:
    """Return the training frame: every fourth flight to learn from, every eighth to measure on."""
    with Client(timeout_seconds=120) as client:
        version = client.dataset("flights")["table_version"]
        flights = read_flights(client, FIRST, LAST).dropna(subset=["is_late"])
        if flights.empty or not client.dataset("departures")["rows"]:
            sys.exit("train: there are no flights or departures yet; run load.py first")
        turn = np.arange(len(flights)) % 8
        part = flights[np.isin(turn, (0, 4, 1))].assign(turn=turn[np.isin(turn, (0, 4, 1))])
        frame = with_features(client, part, "weather_at_hour", "airport_delays", "carrier_delays")
    return Data(frame[frame["turn"] != 1], frame[frame["turn"] == 1], version)


def train(candidate: Candidate, data: Data) -> Pipeline:
    """Fit on what may be seen."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)
    prepare = ColumnTransformer([("categories", encoder, list(TEXTS))], remainder="passthrough")
    pipeline = Pipeline([("prepare", prepare), ("trees", candidate.trees)])
    options = {}
    if isinstance(candidate.trees, GradientBoostingClassifier):
        bar = ProgressBar("training", TREES)
        options["trees__monitor"] = lambda number, *_: bar.update(number + 1)
    # One thread: the platform runs on the same cores, and threads that spin for them take minutes for a second's work.
    with threadpool_limits(limits=1):
        return pipeline.fit(typed(data.seen), data.seen["is_late"].to_numpy(bool), **options)


def describe(candidate: Candidate, data: Data, pipeline: Pipeline) -> dict[str, Any]:
    """Return the version's model.yaml: the common part, the candidate's own, and what training found out."""
    truth = data.unseen["is_late"].to_numpy(bool)
    said = pipeline.predict_proba(typed(data.unseen))[:, 1]
    metrics = {"auc": float(roc_auc_score(truth, said)), "brier": float(brier_score_loss(truth, said))}
    # The surest that it leaves on time, the middle, and the surest that it does not.
    golden = [int(np.argsort(said)[place]) for place in (0, len(said) // 2, -1)]
    rows = data.unseen[list(INPUTS)].iloc[golden].to_dict("records")
    return {
        **yaml.safe_load((HERE / "training" / "model.yaml").read_text()),
        **candidate.manifest,
        "outputs": [OUTPUT | candidate.output],
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "training": {"dataset": "flights", "version": data.version, "code": CODE, "rows": len(data.seen)},
        "examples": [
            {"inputs": row, "outputs": {"late_probability": float(said[at])}, "tolerance": 0.001}
            for row, at in zip(rows, golden, strict=True)
        ],
        "card": CARD.format(how=candidate.how, rows=len(data.seen), tested=len(data.unseen), **metrics),
    }


def build_missing() -> None:
    """Train and write whichever of the two is not there."""
    missing = [candidate for candidate in CANDIDATES if not candidate.directory.exists()]
    data = read_data() if missing else None
    for candidate in missing:
        assert data is not None
        build(candidate, data)


def build(candidate: Candidate, data: Data) -> None:
    """Train a candidate and put its directory in place as a whole, so that one that is there is complete."""
    pipeline = train(candidate, data)
    manifest = describe(candidate, data, pipeline)
    candidate.directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=candidate.directory.parent, prefix=".") as folder:
        made = Path(folder, MODEL)
        made.mkdir()
        candidate.write(pipeline, made / manifest["artifact"])
        sample = data.seen.sample(min(REFERENCE_ROWS, len(data.seen)), random_state=0)
        said = pipeline.predict_proba(typed(sample))[:, 1]
        sample[list(INPUTS)].assign(late_probability=said).to_parquet(made / "reference.parquet", index=False)
        (made / "model.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120))
        shutil.rmtree(candidate.directory, ignore_errors=True)
        made.replace(candidate.directory)
    metrics = manifest["metrics"]
    print(f"{candidate.how}: ROC AUC {metrics['auc']:.3f} on flights it has not seen", flush=True)
