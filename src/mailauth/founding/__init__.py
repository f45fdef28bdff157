"""A new site: its configuration, its server key, its certificate, its empty store."""
