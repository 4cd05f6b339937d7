"""The file of cached features: its format, written piece by piece, read whole.

In here: what extract writes and train_head, evaluate and explain read; tensors written piece by piece.
Not in here: how a feature is computed (extraction).
"""
