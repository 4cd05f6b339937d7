"""A pretrained network without its head: data/backbone.safetensors."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, cast

from pydantic import ConfigDict, Field
from torch import nn

from penultimate.errors import UserError
from penultimate.files.tensors import Tensors, read_tensors, write_tensors
from penultimate.files.validation import Sha256, validated
from penultimate.networks.architectures import architecture, load_into
from penultimate.networks.head import last_linear
from penultimate.networks.preprocessing import Preprocessing


@dataclass(frozen=True)
class Backbone:
    """A network's body, without the layer named `head`, and how to feed it: `data/backbone.safetensors`."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    architecture: str
    body: Tensors
    head: str
    feature_width: Annotated[int, Field(ge=1)]
    preprocessing: Preprocessing
    source: str
    sha256: Sha256

    def save(self, path: Path) -> None:
        facts = {key: value for key, value in vars(self).items() if key != "body"}
        facts["preprocessing"] = asdict(self.preprocessing)
        write_tensors(path, self.body, facts)

    @classmethod
    def load(cls, path: Path) -> "Backbone":
        """Read `data/backbone.safetensors`.

        Raises:
            UserError: the file is missing, damaged, or of another version.
        """
        body, facts = read_tensors(path)
        return validated(cls, {**facts, "body": body}, path)

    def classifier(self, classes: int) -> nn.Module:
        """The network with a head for `classes` classes, all zeros: it begins by knowing nothing of them.

        Raises:
            UserError: the tensors do not fit it.
        """
        network = architecture(self.architecture).build(classes)
        if not self._fills(network):
            raise UserError(
                f"data/backbone.safetensors does not fit {self.architecture} as the installed packages build it: "
                "run `dvc repro -f fetch_backbone`"
            )
        for parameter in network.get_submodule(self.head).parameters():
            nn.init.zeros_(parameter)
        return network

    def _fills(self, network: nn.Module) -> bool:
        """Load the body into `network`: whether all of it but the head is now that of the body."""
        try:
            fit = load_into(network, self.body, strict=False)
        except RuntimeError:  # of other shapes
            return False
        if self.head != last_linear(network) or fit.unexpected_keys:
            return False
        head = cast(nn.Linear, network.get_submodule(self.head))
        return head.in_features == self.feature_width and all(
            key.startswith(f"{self.head}.") for key in fit.missing_keys
        )
