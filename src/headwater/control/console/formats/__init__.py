"""How dates and times are written: the same everywhere, in the order that sorts."""
