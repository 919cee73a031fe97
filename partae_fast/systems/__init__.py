"""The systems that can be trained: settings and `fit` of each.

`registry` lists them.
"""
