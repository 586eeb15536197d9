"""Generation: from noise, or from something given, to text."""
