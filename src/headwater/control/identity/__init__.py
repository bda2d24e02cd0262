"""Who a person is: users, login, passwords."""
