"""What administrators and users do with accounts: one file per thing a person does, each change with its audit row."""
