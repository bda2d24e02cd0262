"""Who sees which rows and columns of datasets and endpoints."""
