"""What the data plane obeys: signed snapshots of environments, published as they change."""
