"""What both ways of training share: the log behind the curves, losses and class weights, checkpoints.

In here: nothing that only one of the two uses.
Not in here: networks, heads.
"""
