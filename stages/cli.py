"""The `penultimate` command, for what is not a stage.

penultimate prune            # empty the side cache of features
penultimate prune --to 5     # … down to 5 GB, what was not used for longest first
"""

import argparse
import sys

from stages.core import feature_cache, runtime


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(
        prog="penultimate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    prune = commands.add_parser("prune", help="remove cached features (.cache/features)")
    prune.add_argument("--to", type=float, default=0.0, metavar="GB", help="keep so much (default: nothing)")
    prune.set_defaults(run=lambda given: _prune(given.to))
    given = parser.parse_args()
    sys.argv[0] = "penultimate"  # errors begin with it
    runtime.run_stage(lambda: given.run(given))


def _prune(gigabytes: float) -> None:
    removed = feature_cache.prune(1e9 * gigabytes)
    runtime.say(f"removed {removed / 1e6:.1f} MB of features from {feature_cache.folder()}")


if __name__ == "__main__":
    main()
