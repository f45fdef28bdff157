"""Our POP3 listener up to login (RFC 1939, RFC 2449, RFC 5034)."""
