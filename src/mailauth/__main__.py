"""`python -m mailauth`."""

from mailauth.cli.main import run

run()
