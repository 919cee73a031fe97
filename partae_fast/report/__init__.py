"""A page for a colleague: recordings before and after, to look at and to listen to, in one file."""
