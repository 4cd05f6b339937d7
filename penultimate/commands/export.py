"""Write a trained model for use elsewhere, with a model card beside it.

penultimate export --format onnx --out classifier.onnx     # needs pip install -e '.[onnx]'
penultimate export --format torchscript --out exported/ --model models/linear.safetensors    # exported/linear.pt

It takes float32 (N, 3, S, S), normalised, and gives logits (N, classes), for any N. Classes and preprocessing are in
its metadata. ONNX and TorchScript files are kept only if they give what the model gives.
"""

import json
import shutil
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from penultimate import console
from penultimate.code import ROOT
from penultimate.commands import model_card, model_file
from penultimate.compute import devices
from penultimate.errors import UserError
from penultimate.files.atomic import written_aside
from penultimate.files.text import write_text
from penultimate.networks.model import Model

TOLERANCE = 1e-3  # of a logit, between the exported model and ours
CHECKED_BATCHES = (1, 3)
OPSET = 18


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--format", choices=list(FORMATS), required=True)
    parser.add_argument("--out", required=True, help="the file, or a folder for it; its model card is FILE.md")
    model_file.add_to(parser)


def run(given: Namespace) -> int:
    """Export, check and describe a model: the exit code.

    Raises:
        UserError: there is no model, a package is missing, or the exported model gives something else.
    """
    model = model_file.load(given.model)
    assert model.file is not None
    out = target(given.out, model.file, given.format)
    devices.settle()
    with written_aside(out) as aside:
        FORMATS[given.format](model, model.file, aside)
    card = out.with_name(out.name + ".md")
    write_text(card, model_card.text(model, model.file, out))
    console.say(f"{out} ({out.stat().st_size / 1e6:.1f} MB), described in {card}")
    return 0


def target(out: str, source: Path, form: str) -> Path:
    """The file to write: `out` itself, or in the folder `out` one named after the model.

    Raises:
        UserError: it is the model itself.
    """
    path = Path(out)
    if out.endswith("/") or path.is_dir():
        path /= source.stem + SUFFIXES[form]
    if path.exists() and path.samefile(source):
        raise UserError(f"--out {out}: is the model itself; say another file")
    return path


def metadata(model: Model) -> dict[str, str]:
    """What whoever runs the model must know, as text values."""
    facts = {
        "classes": model.classes,
        "preprocessing": asdict(model.preprocessing),
        "architecture": model.architecture,
        "made_by": model.made_by,
    }
    return {key: json.dumps(value, sort_keys=True, ensure_ascii=False) for key, value in facts.items()}


def to_onnx(model: Model, _: Path, out: Path) -> None:
    """Write ONNX with a dynamic batch, and hold ONNX Runtime's logits against ours."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs the package {error.name or error}: {installation()}") from None

    with warnings.catch_warnings(action="ignore"):
        batch = torch.export.Dim("batch")
        program = torch.onnx.export(
            model.network,
            (_pixels(model, 2),),
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, metadata(model))
    onnx.save(proto, out)
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    _check(model, lambda pixels: torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0]))


def installation() -> str:
    """The command that installs what ONNX needs, where this package lies in a clone or a project, and elsewhere."""
    if not (ROOT / "pyproject.toml").is_file():
        return "pip install onnx onnxscript onnxruntime"
    return f"pip install -e '{'.' if Path.cwd().samefile(ROOT) else ROOT}[onnx]'"


def to_torchscript(model: Model, _: Path, out: Path) -> None:
    """Write a traced module; the metadata are its extra files."""
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        traced = torch.jit.trace(model.network, _pixels(model, 2), check_trace=False)
        with out.open("wb") as stream:
            torch.jit.save(traced, stream, _extra_files=metadata(model))
        loaded = torch.jit.load(out)
    _check(model, loaded)


def to_safetensors(_: Model, source: Path, out: Path) -> None:
    """The model's own file, which has all facts in its metadata."""
    shutil.copyfile(source, out)


def _pixels(model: Model, count: int) -> Tensor:
    size = model.preprocessing.image_size
    random = np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return model.preprocessing.normalise(torch.from_numpy(random)).contiguous()


def _check(model: Model, exported: Callable[[Tensor], Tensor]) -> None:
    for count in CHECKED_BATCHES:
        pixels = _pixels(model, count)
        with torch.inference_mode():
            difference = float((exported(pixels) - model.network(pixels)).abs().max())
        if not difference <= TOLERANCE:
            raise UserError(f"the exported model's logits differ by {difference:.2g} from the model's: not kept")


SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
FORMATS: dict[str, Callable[[Model, Path, Path], None]] = {
    "onnx": to_onnx,
    "torchscript": to_torchscript,
    "safetensors": to_safetensors,
}
