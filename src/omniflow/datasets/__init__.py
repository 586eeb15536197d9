"""Datasets: ordered collections of samples, one component a file."""
