"""`python -m penultimate`, which takes the code of the folder it is run in."""

from penultimate.cli import main

main()
