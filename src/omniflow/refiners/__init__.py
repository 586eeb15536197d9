"""Refiners: residual corrections of predicted text latents."""
