"""Where accounts, app passwords, policy and the audit log are kept: SQLite or PostgreSQL."""
