"""What other mail systems keep about accounts, read as `entry.Entry`, one file for each kind of place."""
