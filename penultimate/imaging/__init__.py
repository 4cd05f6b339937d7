"""From the bytes of one picture to upright pixels, and from those to the square that a network sees.

In here: decoding, the closed list of formats, crops and views, by Pillow's arithmetic.
Not in here: which pictures there are, batches, torch.
"""
