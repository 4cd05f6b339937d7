"""Why a model says what it says: heat maps, neighbours, a map of its features, each computed and drawn.

In here: the pictures of one mode. A new one is a module here, drawn and listed in `stages/explain.py`, and an
output in dvc.yaml.
Not in here: the comparison of modes (report).
"""
