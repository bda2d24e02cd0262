"""Adapters to storage and execution engines: one protocol a folder, implementations named by technology."""
