"""Simulated providers for the demo and the tests: they behave as documented, refusals and errors included.

Rule: only `demo` starts them, every page says that it is simulated, and nothing of them leaves this machine.
"""
