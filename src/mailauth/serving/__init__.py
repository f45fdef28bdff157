"""Sockets, TLS, limits and the refusal clock: everything that drives a Dialogue."""
