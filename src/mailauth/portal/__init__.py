"""The web portal: where people choose what gets into their mail, and administrators for whom."""
