"""Validated ingestion."""
