"""The message ids that may leave the client, as the protocol numbers them: reading only."""

ACCOUNTS = frozenset({"6", "61", "62", "63", "64"})
"""What accounts hold, and the cancels: on the wire only where positions are enabled."""
OUTGOING = frozenset({"71", "9", "20", "25", "22", "23", "49", "87", "90"}) | ACCOUNTS
"""Start, contract details, history, scanner, time, head timestamp, and the cancels."""
