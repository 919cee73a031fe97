"""Experiments of published papers, a package for each; `partae reproduce` runs them.

Each package has data.py (recordings), scores.py (measures), claims.py (rules and verdicts), figures.py, markdown.py
(the text of claims.md) and experiment.py (the whole run); models.py lists the models if there are many.
"""
