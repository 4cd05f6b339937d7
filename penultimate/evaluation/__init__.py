"""Predictions, scores, intervals and curves, as numbers.

In here: what is measured of a model. A new metric is a line of `scores.summary`.
Not in here: anything that draws or explains.
"""
