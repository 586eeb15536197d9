"""Sampling: from what is given to what is made, in batches, for any task."""
