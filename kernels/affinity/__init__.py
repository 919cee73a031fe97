"""Deep clustering: the affinities of embeddings against those of their labels, in low-rank form, with the gradient."""
