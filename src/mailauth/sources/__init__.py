"""Where web passwords are checked that are not in our store, one file each; see interfaces.PasswordSource."""
