"""Saved models and the Hub: what goes up, how, and what is remembered of it; files alone."""
