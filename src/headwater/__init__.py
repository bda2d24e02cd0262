"""Headwater: the open-source backend for data applications."""

__version__ = "0.1.0"
