"""Second factors of the portal, one file each; `plugins.load("factors", name, section)` finds them by file name."""
