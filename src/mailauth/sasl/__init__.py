"""SASL mechanisms (RFC 4422), one file each; `plugins.load("sasl", name)` finds them by file name."""
