"""Training a whole network: batches of augmented views, optimizers and schedules, the trainer.

In here: what only finetune uses, and preview shows.
Not in here: the pictures drawn of it (drawing), losses and checkpoints (training).
"""
