"""What a model sees and says as numbers: profiles, their drift from a reference, alerts, quality against outcomes."""
