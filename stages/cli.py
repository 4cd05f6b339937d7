"""The `penultimate` command, for what is not a stage: `penultimate <command> --help` says more.

penultimate predict photo.jpg folder/
penultimate export --format onnx --out classifier.onnx
penultimate init /photos
penultimate doctor
penultimate prune
"""

import argparse
import importlib
import sys

from stages.core import runtime

COMMANDS = {
    "predict": "classify pictures with a trained model",
    "export": "write a model as ONNX, TorchScript or safetensors, with a model card",
    "init": "begin a project around a folder of pictures",
    "doctor": "look whether all is well on this machine",
    "prune": "remove cached features",
}


def main() -> None:
    """Run the command that the arguments name; only its module is imported."""
    parser = argparse.ArgumentParser(prog="penultimate", description="Image transfer learning, beside the pipeline.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"stages.commands.{name}") if name == wanted else None
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__ if module else summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module:
            module.add_to(command)
            command.set_defaults(run=module.run)
    given = parser.parse_args()
    sys.exit(runtime.run_command(lambda: given.run(given), name="penultimate", go_on="nothing was left half-written"))


if __name__ == "__main__":
    main()
