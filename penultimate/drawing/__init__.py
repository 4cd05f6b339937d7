"""Figures and small pictures: how things look, whatever they mean.

In here: matplotlib, PNGs, pictures with their captions.
Not in here: what is computed, pages of HTML (report). No package below imports this one.
"""
