"""Experiments of published papers, run anew: one module for each paper; `partae reproduce` calls them."""
