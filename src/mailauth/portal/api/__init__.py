"""The JSON API of the portal: one table of operations, from which it is both served and described."""
