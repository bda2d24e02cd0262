"""What every service shares: authentication, problems, snapshots, application."""
