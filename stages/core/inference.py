"""One pass of a network in eval mode over pictures or views of them."""

from collections.abc import Iterable, Iterator

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
) -> Iterator[Tensor]:
    """What `network` gives for batches of uint8 views (n, S, S, 3): float32 (m, width), on the CPU, in their order.

    The network is put in eval mode; no parameter or buffer changes. What is yielded is not cut as the batches were.
    """
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    for batch in images.regrouped(batches, BATCH):
        pixels = torch.from_numpy(batch).to(device)
        filled = torch.cat([pixels, pixels[:1].expand(BATCH - len(batch), -1, -1, -1)])
        with torch.inference_mode(), compute.arithmetic(precision, device):
            result = network(preprocessing.normalise(filled))[: len(batch)].float().cpu()
        yield result


def classify(
    network: nn.Module,
    pictures: images.Pictures,
    *,
    preprocessing: Preprocessing,
    precision: compute.Resolved,
    device: torch.device,
    what: str = "classify",
) -> Tensor:
    """The logits of the centre crop of every picture: float32 (N, classes)."""

    def view(index: int) -> images.Pixels:
        return images.centre_view(pictures[index], preprocessing.image_size)

    batches = images.batches(images.in_batches(range(len(pictures)), BATCH), view)
    return torch.cat(
        list(
            outputs(
                network,
                runtime.progress(batches, total=len(pictures), what=what, size=len),
                preprocessing=preprocessing,
                precision=precision,
                device=device,
            )
        )
    )
