"""Model execution."""
