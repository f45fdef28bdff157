"""The mail servers of this machine, as their own programs tell of their configuration: one file for each."""
