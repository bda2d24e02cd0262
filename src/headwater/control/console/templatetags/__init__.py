"""What templates of the console can do to values."""
