"""Architectures, preprocessing, the files of backbones and models, and one pass of a network.

In here: what is needed to build a network and to run it over pictures.
Not in here: training, and where weights come from (sources).
"""
