"""Training of many models over a grid of settings, with a table and a plot."""
