"""Feature views: one definition, computed the same way over history and online."""
