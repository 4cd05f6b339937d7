"""One pass of a network in eval mode over pictures or views of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.core import compute, images, runtime
from stages.core.backbones import Preprocessing

BATCH = 32  # views per forward pass; the last batch is filled up, so that every pass has one shape


def outputs(
    network: nn.Module,
    batches: Iterable[images.Pixels],
    *,
    preprocessing: Preprocessing,
    precision: compute.Resolved,
    device: torch.device,
) -> Tensor:
    """What `network` gives for batches of uint8 views (n, S, S, 3): float32 (N, width), on the CPU.

    The network is put in eval mode; no parameter or buffer changes.
    """
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    results = []
    with torch.inference_mode(), compute.arithmetic(precision, device):
        for batch in batches:
            pixels = torch.from_numpy(batch).to(device)
            for part in pixels.split(BATCH):
                filled = torch.cat([part, part[:1].expand(BATCH - len(part), -1, -1, -1)])
                results.append(network(preprocessing.normalise(filled))[: len(part)].float().cpu())
    return torch.cat(results)


def classify(
    network: nn.Module,
    pictures: Sequence[Path] | images.DecodedPictures,
    *,
    preprocessing: Preprocessing,
    precision: compute.Resolved,
    device: torch.device,
    what: str = "classify",
) -> Tensor:
    """The logits of the centre crop of every picture: float32 (N, classes)."""
    decoded = (
        pictures if isinstance(pictures, images.DecodedPictures) else images.DecodedPictures(pictures, budget_bytes=0)
    )

    def view(index: int) -> images.Pixels:
        return images.centre_view(decoded[index], preprocessing.image_size)

    batches = images.batches(images.in_batches(range(len(decoded)), BATCH), view)
    return outputs(
        network,
        runtime.progress(batches, total=len(decoded), what=what, size=len),
        preprocessing=preprocessing,
        precision=precision,
        device=device,
    )
