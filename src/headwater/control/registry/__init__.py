"""The model registry: models, their immutable versions, and the routes that share traffic among them."""
