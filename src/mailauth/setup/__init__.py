"""`mailauth setup`: the configuration that a mail server needs to ask mailauth, for the version that is installed.

Rule: a module for each host makes a `Plan` and touches nothing; `installing` alone writes.
"""
