"""Stages of `scripts/make_tiny.py`."""
