"""The commands: one file for each, loaded when it is asked for."""
