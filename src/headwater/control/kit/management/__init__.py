"""Django's commands as this platform has them."""
