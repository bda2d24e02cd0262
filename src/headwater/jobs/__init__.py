"""Data-plane work without Django: sealing and upkeep of tables."""
