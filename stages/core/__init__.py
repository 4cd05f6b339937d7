"""The parts the stages are made of. Modules here never import a stage, and import each other only downwards.

`LAYERS` is their order, from the ground up; a test holds the imports against it.
"""

LAYERS = (
    ("errors",),
    ("files", "params", "runtime", "png"),
    ("download", "rows", "archives", "manifest", "predictions", "comparison", "tensors", "curves", "class_weights"),
    ("feature_cache", "checkpoints", "sources", "splits", "twins", "label_errors", "images", "compute", "scores"),
    ("backbones", "figures", "html", "heads", "data_report", "explanation", "device_views"),
    ("models", "inference", "features", "report"),
    ("engines",),
    ("extraction", "training", "exhibits"),
)
