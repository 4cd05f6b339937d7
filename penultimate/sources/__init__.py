"""Where pictures and pretrained weights come from: downloads, wheels, archives, folders, and their arrangement.

In here: everything that reaches outside the project. A new source of pictures is an entry of `catalogue.SOURCES`, new
weights are one of `weights.OWN_WEIGHTS`.
Not in here: what is kept of the pictures (curation).
"""
