"""The durable journal in front of the lake."""
