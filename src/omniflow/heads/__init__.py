"""Heads: text features of the transformer to predicted clean text latents."""
