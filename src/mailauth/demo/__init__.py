"""The demo site: everything on this machine, with an account to try."""
