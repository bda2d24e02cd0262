"""Typed SQL endpoints and ad-hoc SQL."""
