"""Experiments: several recipes, each with several seeds, trained, generated, scored, compared."""
