"""Bytes from the Hub, over a connection that may be slow, busy or lost on the way."""
