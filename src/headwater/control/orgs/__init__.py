"""Who exists: organisations, their projects and environments, and who belongs to them."""
