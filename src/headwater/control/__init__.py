"""The control plane: Django. Never imports FastAPI."""
