"""The manifest, and its pictures by index: decoded when asked for, in threads, in batches.

In here: what a split is, and how pictures come out of it, ahead of their use.
Not in here: why a picture is in a split (curation), augmentation (imaging), networks.
"""
