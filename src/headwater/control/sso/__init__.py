"""How an organisation's people sign in: its domains, its identity provider, what it asks of them."""
