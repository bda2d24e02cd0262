"""The catalogue: datasets and their contracts, SQL endpoints, quarantine, and applying project directories."""
