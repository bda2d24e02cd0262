"""Dashboards: what they show as data, every revision kept, made in the console or by files."""
