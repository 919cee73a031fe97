"""Training: the loop, its checkpoints, the papers' presets, and the way from recordings to a model."""
