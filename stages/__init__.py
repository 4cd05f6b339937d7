"""One thin module per DVC stage, run in its project as `python -m stages.<name>`; the parts are in `penultimate`."""
