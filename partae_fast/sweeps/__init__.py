"""Many settings at once: the grid, the launch of a population, table and plot."""
