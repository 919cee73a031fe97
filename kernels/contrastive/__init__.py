"""Source-contrastive estimation: embeddings of points against the vectors of their mix's sources, with gradients."""
