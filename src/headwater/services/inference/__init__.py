"""Model inference."""
