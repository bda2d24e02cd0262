"""Runs all processes of one home on one machine: ordered start, one log, restarts, ordered stop."""
