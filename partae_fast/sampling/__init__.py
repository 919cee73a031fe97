"""Random crops, frames and mixtures for training, and corpora: drawn by counter, the same on every back-end."""
