"""The operator's own mail servers behind us: whose they are, and how somebody is logged in there."""
