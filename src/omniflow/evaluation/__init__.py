"""Prediction files, and the figures that metrics make of them."""
