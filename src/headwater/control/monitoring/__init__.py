"""Watching models: alerts when what they see or say drifts, and the report of a version."""
