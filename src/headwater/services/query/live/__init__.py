"""Live results: one computation for all who watch the same, told as a snapshot and then as differences."""
