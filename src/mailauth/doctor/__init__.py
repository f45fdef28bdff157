"""Looks at a site as it stands and runs, and says of each thing whether it is right and how to mend it."""
