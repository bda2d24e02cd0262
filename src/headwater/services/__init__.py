"""The data plane: FastAPI, raw ASGI on hot routes. Never imports Django."""
