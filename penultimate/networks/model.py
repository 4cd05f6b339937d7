"""The one kind of model file that both modes write: a whole network with its head, and how to use it."""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from penultimate.compute.precision import Resolved
from penultimate.errors import UserError
from penultimate.files.tensors import Tensors, of_this_version, read_tensors, write_tensors
from penultimate.networks.architectures import architecture, load_into
from penultimate.networks.head import last_linear
from penultimate.networks.preprocessing import Preprocessing


@dataclass
class Model:
    """A trained classifier.

    tensors: of the whole network, under the architecture's own names: `network.load_state_dict(load_file(path))` reads
    the file anywhere. head: the name of the last layer. made_by: which stage made it, by which parameters, and what it
    was chosen on.
    """

    tensors: Tensors
    architecture: str
    head: str
    classes: list[str]
    preprocessing: Preprocessing
    precision: Resolved
    made_by: dict[str, Any]

    @cached_property
    def network(self) -> nn.Module:
        """The network in eval mode, on the CPU; who needs the head alone need not pay for the library that builds it.

        Raises:
            UserError: the tensors do not fit it.
        """
        network = architecture(self.architecture).build(len(self.classes))
        try:
            load_into(network, self.tensors)
        except RuntimeError:
            stage = self.made_by["stage"]
            raise UserError(
                f"the model of {stage} does not fit {self.architecture} as the installed packages build it: run "
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
        facts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "tensors"}
        facts["preprocessing"] = asdict(self.preprocessing)
        write_tensors(path, self.tensors, facts)

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read a model.

        Raises:
            UserError: the file is missing, damaged, or of another version.
        """
        tensors, facts = read_tensors(path)
        with of_this_version(path):
            if "head" not in facts:  # files of version 0.1
                facts["head"] = last_linear(architecture(facts["architecture"]).build(1))
            facts["preprocessing"] = Preprocessing.of(facts["preprocessing"])
            return cls(tensors=tensors, **facts)
