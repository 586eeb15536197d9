"""Data sets and models brought from the Hub into folders, whole or in part, to be kept."""
