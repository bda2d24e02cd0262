"""Template tags of model monitoring."""
