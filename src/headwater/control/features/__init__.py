"""Feature views: what is declared about them, revision by revision."""
