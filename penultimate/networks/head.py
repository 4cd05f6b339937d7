"""The last layer of a network: found, replaced, left out."""

from torch import nn

from penultimate.errors import UserError


def last_linear(network: nn.Module, name: str = "the network") -> str:
    """The name of the module that ends the network, an `nn.Linear`: what comes into it are the penultimate features.

    Raises:
        UserError: the network ends in something else.
    """
    path: str
    path, module = [(p, m) for p, m in network.named_modules() if not list(m.children())][-1]
    if not isinstance(module, nn.Linear):
        raise UserError(f"backbone.name = {name!r}: does not end in a linear layer but in {type(module).__name__}")
    return path


def replace_head(network: nn.Module, head: nn.Module) -> nn.Module:
    """Put `head` in the place of the last linear layer; returns what was there."""
    parent_path, _, attribute = last_linear(network).rpartition(".")
    parent = network.get_submodule(parent_path)
    old: nn.Module = getattr(parent, attribute)
    setattr(parent, attribute, head)
    return old


def without_head(network: nn.Module) -> nn.Module:
    """The network itself, changed so that it gives its penultimate features, (N, D)."""
    replace_head(network, nn.Identity())
    return network
