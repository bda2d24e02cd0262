"""Feature flags: what they are, what each environment says about them, and which have had their day."""
