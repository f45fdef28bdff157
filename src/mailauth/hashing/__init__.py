"""How secrets are stored: one file per scheme, `records` chooses among them, `pool` bounds what they may cost."""
