"""Training of many models at once over a grid of settings, with a table and a plot."""
