"""What every app of the control plane is built with: tenancy, actions, outbox, requests."""
