"""Why a model says what it says: heat maps, neighbours, a map of its features, each computed and drawn.

In here: the pictures of one mode. A new one is a module here, drawn in `stages/explain.py`, an output in dvc.yaml, and
a part of `report.page.Why`.
Not in here: pages, and the comparison of modes (report).
"""
