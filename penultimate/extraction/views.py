"""Which views of a picture are passed through the network, and the key of each."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from penultimate.compute import randomness
from penultimate.dataset.manifest import Picture
from penultimate.extraction import cache
from penultimate.imaging import crops, decoding
from penultimate.networks.preprocessing import Preprocessing
from penultimate.params import Augmentation, Extract


def view_keys(picture: Picture, views: int, options: Extract) -> Iterator[bytes]:
    """What every view of a picture is kept under.

    The centre crop's is the same whatever the augmentation is, and that of a picture of 8 bits is the same whatever is
    white in those of 16 beside it.
    """
    drawn = {name: getattr(options, name) for name in ("seed", *Augmentation.model_fields)}
    for view in range(views):
        white = [picture.white] if picture.white else []
        yield cache.key(picture.sha256, view, drawn if view else None, *white)


def per_picture(todo: npt.NDArray[np.intp], views: int) -> Iterator[tuple[int, list[int]]]:
    """Which views of which picture."""
    for i, places in groupby(todo.tolist(), key=lambda place: place // views):
        yield i, [place % views for place in places]


def cut_views(
    items: Sequence[tuple[Picture, list[int]]], *, preprocessing: Preprocessing, options: Extract
) -> crops.Pixels:
    """Views of pictures, (n, S, S, 3): view 0 is the centre crop, the others are augmentations."""
    size = preprocessing.image_size
    found = []
    for picture, views in items:
        image = decoding.decode_fast(picture.file, short_side=preprocessing.short_side, white=preprocessing.white)
        for view in views:
            if view:
                random = randomness.generator(options.seed, picture.sha256, view)
                found.append(crops.augmented_view(image, size, options, random))
            else:
                found.append(crops.centre_view(image, size))
    return np.stack(found)
