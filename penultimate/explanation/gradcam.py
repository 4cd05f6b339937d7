"""Where a network looks: Grad-CAM."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penultimate.compute import memory
from penultimate.dataset.manifest import RAW
from penultimate.dataset.pictures import Pictures
from penultimate.drawing.tiles import Tile, heated
from penultimate.imaging import crops
from penultimate.networks.head import with_shared_weights
from penultimate.networks.model import Model

BATCH = 8  # pictures per pass: their gradients take much more memory than a pass without


def grad_cam(network: nn.Module, pixels: Tensor, classes: Tensor) -> Tensor | None:
    """How much each place of a picture speaks for a class.

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) on the last feature map that still has places: its channels
    weighted by the mean gradient of the class's logit, what speaks against it left out.

    Args:
        network: a classifier, in eval mode.
        pixels: float32 (N, 3, S, S), normalised.
        classes: int64 (N,), of each picture the class that is asked about.

    Returns:
        float32 (N, S, S), the strongest place of each picture 1; None where the network ends in tokens without places.
    """
    found: list[Tensor] = []

    def remember(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            if output.ndim == 4 and min(_places(output).shape[2:]) > 1:
                found.append(output)
            elif output.ndim == 3:
                found.clear()

    hooks = [module.register_forward_hook(remember) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(pixels.clone().requires_grad_())
            if not found:
                return None
            (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), found[-1])
    finally:
        for hook in hooks:
            hook.remove()
    activation, gradient = _places(found[-1].detach()), _places(gradient)
    heat = (activation * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, size=pixels.shape[2:], mode="bilinear")[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)


def _places(output: Tensor) -> Tensor:
    """A feature map as (N, C, H, W); Swin and its like keep (N, H, W, C)."""
    return output.permute(0, 3, 1, 2) if output.shape[1] == output.shape[2] != output.shape[3] else output


def tiles(model: Model, shown: Sequence[Tile], classes: Sequence[int], device: torch.device) -> tuple[list[Tile], str]:
    """The pictures `shown`, with what spoke for the class of each laid over it, and what to write above them."""
    if not shown:
        return [], "no mistakes"
    fed = model.preprocessing
    pictures = Pictures([RAW / tile.path for tile in shown], short_side=fed.short_side, white=fed.white)
    network = with_shared_weights(model.network).to(device)

    def heat_of(part: Tensor) -> Tensor | None:
        views = np.stack([crops.centre_view(pictures[i], fed.image_size) for i in part.tolist()])
        pixels = fed.normalise(torch.from_numpy(views).to(device))
        heat = grad_cam(network, pixels, torch.tensor(classes)[part].to(device))
        return None if heat is None else heat.cpu()

    pieces = memory.Pieces(BATCH)
    heat = [each for part in torch.arange(len(shown)).split(BATCH) for each in pieces.run(heat_of, part)]
    if any(each is None for each in heat):
        return [], f"{model.architecture} keeps no map of places that could be shown"
    laid_over = torch.cat(heat).numpy()  # type: ignore[arg-type]
    return list(map(heated, shown, laid_over)), "where the model looked in its most confident mistakes"
