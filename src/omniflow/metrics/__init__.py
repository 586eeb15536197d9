"""Figures over predictions, one metric a file; none of them imports torch or opens a connection."""
