"""Linear heads on cached features: logistic regression, SGD, folds, and the choice of the strength.

In here: what trains on vectors. A new solver is a module here and a name in `training.train`.
Not in here: pictures, networks.
"""
