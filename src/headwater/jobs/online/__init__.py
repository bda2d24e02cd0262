"""Keeping feature views online: rows as they are sealed, and back-fills from the lake."""
