"""The last layer of a network: found, replaced, left out."""

import copy

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


def with_shared_weights(network: nn.Module) -> nn.Module:
    """A copy that shares the memory of `network`'s parameters and buffers.

    It may be moved, put in another mode, or given another head: `network` stays as it is.
    """
    memo: dict[int, object] = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in network.parameters()}
    memo |= {id(buffer): buffer.detach() for buffer in network.buffers()}
    return copy.deepcopy(network, memo)


def without_head(network: nn.Module) -> nn.Module:
    """A copy of the network that gives its penultimate features, (N, D); it shares the weights."""
    copied = with_shared_weights(network)
    replace_head(copied, nn.Identity())
    return copied
