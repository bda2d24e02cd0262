"""The Python SDK; depends on nothing else of ours."""
