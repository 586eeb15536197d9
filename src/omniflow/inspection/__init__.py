"""Looking at the data of a recipe before it is trained on: checks as figures, samples as a page."""
