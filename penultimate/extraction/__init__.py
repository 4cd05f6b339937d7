"""From pictures to frozen penultimate features, each view once ever.

In here: engines (OpenVINO, PyTorch), views and their keys, the side cache, the extractor.
Not in here: what is trained on features (heads). What can change
a feature is named in `extractor.SHAPES_A_FEATURE`.
"""
