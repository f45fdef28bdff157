"""Our IMAP listener up to login (RFC 3501, RFC 9051)."""
