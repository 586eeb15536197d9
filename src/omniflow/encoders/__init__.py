"""Encoders: samples to one embedding each, frozen."""
