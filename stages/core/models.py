"""The one kind of model file that both modes write: a whole network with its head, and how to use it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from stages.core.backbones import Preprocessing, architecture, last_linear
from stages.core.compute import Resolved
from stages.core.errors import UserError
from stages.core.tensors import load_into, read_tensors, write_tensors


@dataclass
class Model:
    """A trained classifier.

    The file's tensors have the architecture's own names: `network.load_state_dict(load_file(path))` reads it anywhere.
    `made_by` says which stage made it, by which parameters, and what it was chosen on.
    """

    network: nn.Module
    architecture: str
    classes: list[str]
    preprocessing: Preprocessing
    precision: Resolved
    made_by: dict[str, Any]

    def caveat(self) -> str:
        """What whoever shows a number of this model must say with it."""
        return "kept at its best epoch on these very pictures: optimistic" if self.made_by["chosen_on"] == "val" else ""

    def head(self) -> nn.Module:
        """The last layer: penultimate features to logits."""
        return self.network.get_submodule(last_linear(self.network))

    def save(self, path: Path) -> None:
        facts = {key: value for key, value in vars(self).items() if key != "network"}
        facts["preprocessing"] = asdict(self.preprocessing)
        write_tensors(path, self.network.state_dict(), facts)

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read a model, in eval mode, on the CPU.

        Raises:
            UserError: the file is missing or damaged.
        """
        tensors, facts = read_tensors(path)
        network = architecture(facts["architecture"]).build(len(facts["classes"]))
        try:
            load_into(network, tensors)
        except RuntimeError:
            raise UserError(f"{path} does not fit {facts['architecture']} as the installed packages build it") from None
        facts["preprocessing"] = Preprocessing.of(facts["preprocessing"])
        return cls(network=network.eval(), **facts)
