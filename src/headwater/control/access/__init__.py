"""Who may do what: roles, grants, service accounts, API keys."""
