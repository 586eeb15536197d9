"""Checkpoints of the original research script, read without executing anything in them."""
