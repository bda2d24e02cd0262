"""The parts of batch scoring: reading a dataset's files, checking rows, running the model, writing predictions."""
