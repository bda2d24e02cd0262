"""Artifacts by their hash."""
