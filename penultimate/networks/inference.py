"""One pass of a network in eval mode over pictures or views of them."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from penultimate import console
from penultimate.compute import memory
from penultimate.compute.precision import Resolved, arithmetic
from penultimate.dataset import loading, pictures
from penultimate.imaging import crops
from penultimate.networks.head import with_shared_weights
from penultimate.networks.preprocessing import Preprocessing

BATCH = 32  # views per forward pass; the last batch is filled up, so that every pass has one shape


def outputs(
    network: nn.Module,
    batches: Iterable[crops.Pixels],
    *,
    preprocessing: Preprocessing,
    precision: Resolved,
    device: torch.device,
) -> Iterator[Tensor]:
    """What `network` gives for batches of uint8 views (n, S, S, 3): float32 (m, width), on the CPU, in their order.

    It runs in eval mode, on `device`; `network` itself stays as and where it is. What is yielded is not cut as the
    batches were. Where the memory does not suffice, the passes become smaller: that may change the last bits of a
    result, since some libraries (MKL) multiply few rows in another order than many.

    Raises:
        UserError: it does not suffice for a single picture.
    """
    network = with_shared_weights(network).to(device).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def forward(pixels: Tensor) -> Tensor:
        with arithmetic(precision, device):
            result: Tensor = network(preprocessing.normalise(pixels.to(device))).float().cpu()
        return result

    pieces = memory.Pieces(BATCH)
    for batch in loading.regrouped(batches, BATCH):
        pixels = torch.from_numpy(batch)
        filled = torch.cat([pixels, pixels[:1].expand(BATCH - len(batch), -1, -1, -1)])
        yield torch.cat(pieces.run(forward, filled))[: len(batch)]


def classify(
    network: nn.Module,
    pictures: pictures.Pictures,
    *,
    preprocessing: Preprocessing,
    precision: Resolved,
    device: torch.device,
    what: str = "classify",
) -> Tensor:
    """The logits of the centre crop of every picture: float32 (N, classes)."""

    def view(index: int) -> crops.Pixels:
        return crops.centre_view(pictures[index], preprocessing.image_size)

    batches = loading.batches(loading.in_batches(range(len(pictures)), BATCH), view)
    return torch.cat(
        list(
            outputs(
                network,
                console.progress(batches, total=len(pictures), what=what, size=len),
                preprocessing=preprocessing,
                precision=precision,
                device=device,
            )
        )
    )
