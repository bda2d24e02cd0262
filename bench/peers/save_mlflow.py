"""Save the benchmark's scikit-learn model as an MLflow model. Usage: save_mlflow.py MODELS DIRECTORY."""

import sys

import joblib
import mlflow

model = joblib.load(f"{sys.argv[1]}/gbc.joblib")
mlflow.sklearn.save_model(model, sys.argv[2], serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba")
