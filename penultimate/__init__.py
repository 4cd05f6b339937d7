"""The library behind the pipeline: a package per concern, which imports only from those below it.

The packages, from the bottom: files, imaging, dataset, compute, networks, sources, curation, features, extraction,
training, heads, finetuning, evaluation, drawing, explanation, report, commands.

The modules beside them (cli, code, console, environment, errors, params) cannot change an output, and are no
dependencies of a stage. Everything in a package can.
"""
