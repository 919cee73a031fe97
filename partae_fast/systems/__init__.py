"""A module for each system that can be trained, with its settings and its `fit`; `registry` lists them."""
