"""Review queues: what people have to look at, claimed with a lease, decided by form, carried out afterwards."""
