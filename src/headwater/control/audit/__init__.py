"""What happened: one sealed row for every change of state, chained by hashes."""
