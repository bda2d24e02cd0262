"""What people see: the admin for staff, the home page, sign-in, and their styles."""
