"""Where exposures to feature flags are kept."""
