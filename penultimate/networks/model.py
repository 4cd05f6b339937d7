"""The one kind of model file that both modes write: a whole network with its head, and how to use it."""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from penultimate.compute.precision import Resolved
from penultimate.errors import UserError
from penultimate.files.tensors import Tensors, read_tensors, write_tensors
from penultimate.files.validation import ClassNames, validated
from penultimate.networks.architectures import architecture, load_into
from penultimate.networks.preprocessing import Preprocessing

STAGES = ("train_head", "finetune")
MADE_BY = ("stage", "chosen", "chosen_on")  # beside the stage's parameters


def _says_who(made_by: dict[str, Any]) -> dict[str, Any]:
    if made_by.get("stage") not in STAGES or not all(isinstance(made_by.get(key), str) for key in MADE_BY):
        raise ValueError(f"must say {', '.join(MADE_BY)}")
    return made_by


@dataclass
class Model:
    """A trained classifier.

    tensors: of the whole network, under the architecture's own names: `network.load_state_dict(load_file(path))` reads
    the file anywhere. head: the name of the last layer. made_by: which stage made it, by which parameters, and what it
    was chosen on. file: where it was read from.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    tensors: Tensors
    architecture: str
    head: str
    classes: ClassNames
    preprocessing: Preprocessing
    precision: Resolved
    made_by: Annotated[dict[str, Any], AfterValidator(_says_who)]
    file: Path | None = None

    def __post_init__(self) -> None:
        """Hold the head against the classes: who uses the head alone builds no network that would.

        Raises:
            ValueError: there is no head of that name, or it is not for so many classes.
        """
        weight, bias = (self.tensors.get(f"{self.head}.{name}") for name in ("weight", "bias"))
        if weight is None or bias is None:
            raise ValueError(f"no tensors of the head {self.head!r}")
        count = len(self.classes)
        if weight.ndim != 2 or len(weight) != count or bias.shape != (count,) or not weight.is_floating_point():
            raise ValueError(f"the head {self.head!r} is not one for {count} classes")

    @cached_property
    def network(self) -> nn.Module:
        """The network in eval mode, on the CPU; who needs the head alone need not pay for the library that builds it.

        Raises:
            UserError: there is no such network, or the tensors do not fit it.
        """
        stage = self.made_by["stage"]
        shown = self.file or f"the model of {stage}"
        try:
            network = architecture(self.architecture).build(len(self.classes))
            load_into(network, self.tensors)
        except UserError as error:
            raise UserError(f"{shown}: {error}") from None
        except RuntimeError:
            raise UserError(
                f"{shown} does not fit {self.architecture} as the installed packages build it: run "
                f"`dvc repro -f {stage}`"
            ) from None
        return network.eval()

    def logits(self, features: Tensor) -> Tensor:
        """What the head makes of penultimate features (N, D): (N, classes)."""
        return F.linear(features, self.tensors[f"{self.head}.weight"], self.tensors[f"{self.head}.bias"])

    def caveat(self) -> str:
        """What whoever shows a number of this model must say with it."""
        return "kept at its best epoch on these very pictures: optimistic" if self.made_by["chosen_on"] == "val" else ""

    def save(self, path: Path) -> None:
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        del facts["tensors"], facts["file"]
        facts["preprocessing"] = asdict(self.preprocessing)
        write_tensors(path, self.tensors, facts)

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read a model.

        Raises:
            UserError: the file is missing, damaged, or of another version.
        """
        tensors, facts = read_tensors(path)
        return validated(cls, {**facts, "tensors": tensors, "file": path}, path)
