"""Answering SQL from the tables of record: endpoint files, the walk over syntax trees, DuckDB held on a short leash."""
