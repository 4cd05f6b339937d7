"""Why a model says what it says: heat maps, neighbours, a map of its features, each computed and drawn.

In here: the pictures of one mode. A new one is a module here, a line of `stages/explain.py` and of dvc.yaml.
Not in here: the comparison of modes (report).
"""
