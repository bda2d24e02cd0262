"""Overrides: answers that people replace for a while, asked for by one and approved by another."""
