"""The `penultimate` command, for what is not a stage: `penultimate <command> --help` says more.

penultimate predict photo.jpg folder/
penultimate export --format onnx --out classifier.onnx
penultimate init /photos
penultimate doctor
penultimate prune
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from penultimate import console
from penultimate.errors import UserError

COMMANDS = {
    "predict": "classify pictures with a trained model",
    "export": "write a model as ONNX, TorchScript or safetensors, with a model card",
    "init": "begin a project around a folder of pictures",
    "doctor": "look whether all is well on this machine",
    "prune": "remove cached features",
}


def main() -> None:
    """Run the command that the arguments name; only its module is imported."""
    own = Path("penultimate/__init__.py")  # of a project: its own code made its models
    if own.is_file() and not own.samefile(Path(__file__).with_name("__init__.py")) and "init" not in sys.argv[1:2]:
        os.execv(sys.executable, [sys.executable, "-m", "penultimate", *sys.argv[1:]])
    sys.exit(console.run_command(run, name="penultimate", go_on="nothing was left half-written"))


def run() -> int:
    """Parse the arguments, and do as they say: the exit code.

    Raises:
        UserError: the command's module cannot be imported, or says so itself.
    """
    parser = argparse.ArgumentParser(prog="penultimate", description="Image transfer learning, beside the pipeline.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    for name, summary in COMMANDS.items():
        module = imported(name) if name == wanted else None
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
    code: int = given.run(given)
    return code


def imported(name: str) -> ModuleType:
    """The module of a command.

    Raises:
        UserError: what it needs cannot be imported.
    """
    try:
        return importlib.import_module(f"penultimate.commands.{name}")
    except Exception as error:  # what a broken torch raises is of any kind
        raise UserError(f"{name} cannot begin ({error}): `penultimate doctor` looks for the reason") from None


if __name__ == "__main__":
    main()
