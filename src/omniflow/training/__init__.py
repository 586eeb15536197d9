"""Training: the one loop, what it writes, and how it comes back."""
