"""What the `penultimate` command does beside the pipeline: one module per command."""
