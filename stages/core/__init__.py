"""The parts the stages are made of. Modules here never import a stage, and import each other only downwards.

`LAYERS` is their order, from the ground up; a test holds the imports against it.
"""

LAYERS = (
    ("errors",),
    ("files", "params", "runtime"),
    ("download", "archives", "manifest", "predictions", "comparison", "tensors", "curves"),
    ("sources", "splits", "images", "compute", "scores"),
    ("backbones", "figures", "html", "heads"),
    ("models", "inference", "report"),
    ("features", "training", "exhibits"),
)
