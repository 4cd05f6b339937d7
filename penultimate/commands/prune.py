"""Remove cached features (.cache/features), what was not used for longest first.

penultimate prune            # all of them
penultimate prune --to 5     # down to 5 GB
"""

from argparse import ArgumentParser, Namespace

from penultimate import console
from penultimate.extraction import cache


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--to", type=float, default=0.0, metavar="GB", help="keep so much (default: nothing)")


def run(given: Namespace) -> int:
    """Prune: the exit code."""
    removed = cache.prune(1e9 * given.to)
    console.say(f"removed {removed / 1e6:.1f} MB of features from {cache.folder()}")
    return 0
