"""What `penultimate` does beside the pipeline: one module per command, with `add_to(parser)` and `run(given)`, and what
only they use (`model_card`, of export).

In here: nothing that a stage needs. A new command is a module here and a line of `cli.COMMANDS`.
"""
