"""How other mail servers ask whether a password is right, one file each; `plugins.load("bridges", kind)` finds them."""
