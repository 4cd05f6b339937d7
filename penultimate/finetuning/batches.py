"""The batches of finetuning: which pictures make which step, and what the network sees of them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from penultimate import environment
from penultimate.compute import memory, randomness
from penultimate.dataset import loading
from penultimate.dataset.manifest import Split
from penultimate.dataset.pictures import DecodedPictures
from penultimate.finetuning.device_views import PicturesOnDevice
from penultimate.imaging import crops
from penultimate.networks.preprocessing import Preprocessing
from penultimate.params import Finetune


def decoded(split: Split, preprocessing: Preprocessing, *, budget_bytes: float) -> DecodedPictures:
    """The pictures of a split, decoded once."""
    return DecodedPictures(
        split.files,
        short_side=preprocessing.short_side,
        white=preprocessing.white,
        budget_bytes=budget_bytes,
        folder=environment.cache_folder("decoded"),
    )


class Batches:
    """The training batches of every epoch, drawn by the seed alone."""

    def __init__(
        self,
        train: Split,
        options: Finetune,
        preprocessing: Preprocessing,
        device: torch.device,
        *,
        budget_bytes: float,
    ) -> None:
        self.train, self.options, self.size = train, options, preprocessing.image_size
        self.pictures = decoded(train, preprocessing, budget_bytes=budget_bytes)
        # On a processor Pillow cuts a view in less time than products of matrices take.
        self._on_device = (
            PicturesOnDevice(self.pictures, device, budget_bytes=memory.device_budget_bytes(device))
            if device.type == "cuda"
            else None
        )

    def plan(self, epoch: int) -> list[list[int]]:
        """Which pictures make which step: a new order every epoch; a last batch of one joins the one before it,
        since batch norm has no statistics of one picture.
        """
        order = randomness.generator("order", self.options.seed, epoch).permutation(len(self.train.pictures)).tolist()
        plan = [list(batch) for batch in loading.in_batches(order, self.options.batch_size)]
        if len(plan) > 1 and len(plan[-1]) == 1:
            alone = plan.pop()
            plan[-1] += alone
        return plan

    def views(self, epoch: int, plan: list[list[int]]) -> Iterator[Tensor]:
        """The augmented batches of an epoch, uint8 (B, S, S, 3), made ahead in threads or on the GPU."""

        def cut(index: int, shape: tuple[int, int]) -> crops.Cut:
            key = (self.options.seed, self.train.pictures[index].sha256, "epoch", epoch)
            return crops.random_cut(*shape, self.options, randomness.generator(*key))

        def view(index: int) -> crops.Pixels:
            image = self.pictures[index]
            return crops.view(image, cut(index, image.size), self.size)

        if self._on_device:
            return self._on_device.views(plan, cut, self.size)
        return map(torch.from_numpy, loading.batches(plan, view))

    def first(self, most: int) -> tuple[crops.Pixels, list[str]]:
        """The first training batch, at most so many of it, as the network sees it: uint8 (B, S, S, 3); its labels."""
        plan = [self.plan(0)[0][:most]]
        pixels = next(self.views(0, plan))
        return pixels.cpu().numpy(), [self.train.pictures[index].label for index in plan[0]]
