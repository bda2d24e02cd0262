"""The tables of record."""
