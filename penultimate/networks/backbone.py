"""A pretrained network without its head: data/backbone.safetensors."""

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from penultimate.errors import UserError
from penultimate.files.tensors import Tensors, of_this_version, read_tensors, write_tensors
from penultimate.networks.architectures import architecture, load_into
from penultimate.networks.preprocessing import Preprocessing


@dataclass(frozen=True)
class Backbone:
    """A network's body, without the layer named `head`, and how to feed it: `data/backbone.safetensors`."""

    architecture: str
    body: Tensors
    head: str
    feature_width: int
    preprocessing: Preprocessing
    source: str
    sha256: str

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
        with of_this_version(path):
            facts["preprocessing"] = Preprocessing.of(facts["preprocessing"])
            return cls(body=body, **facts)

    def classifier(self, classes: int) -> nn.Module:
        """The network with a head for `classes` classes, all zeros: it begins by knowing nothing of them."""
        network = architecture(self.architecture).build(classes)
        fit = load_into(network, self.body, strict=False)
        if fit.unexpected_keys or any(not key.startswith(f"{self.head}.") for key in fit.missing_keys):
            raise UserError(
                f"data/backbone.safetensors does not fit {self.architecture} as the installed packages build it: "
                "run `dvc repro -f fetch_backbone`"
            )
        for parameter in network.get_submodule(self.head).parameters():
            nn.init.zeros_(parameter)
        return network
