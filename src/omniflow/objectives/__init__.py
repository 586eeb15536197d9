"""Objectives: what a run minimises."""
