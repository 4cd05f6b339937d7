"""Figures, tiles and pieces of HTML: how things look, whatever they mean.

In here: matplotlib, PNGs, tags and styles.
Not in here: what is computed. No package below imports this one.
"""
