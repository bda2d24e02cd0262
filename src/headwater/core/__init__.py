"""The vocabulary every other layer speaks: no I/O beyond reading settings, no framework."""
