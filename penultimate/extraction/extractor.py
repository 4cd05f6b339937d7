"""From pictures to penultimate features of the frozen network, each view once ever."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penultimate import code, console
from penultimate.dataset import loading
from penultimate.dataset.manifest import Split
from penultimate.errors import UserError
from penultimate.extraction import engines
from penultimate.extraction.cache import KEY_BYTES, FeatureCache
from penultimate.extraction.views import cut_views, per_picture, view_keys
from penultimate.features.streaming import streamed
from penultimate.networks.backbone import Backbone
from penultimate.networks.head import without_head
from penultimate.params import Extract

SHAPES_A_FEATURE = (  # code that decodes, cuts or computes; that which stores cannot
    *("penultimate/imaging", "penultimate/compute", "penultimate/networks"),
    *(f"penultimate/extraction/{module}.py" for module in ("engines", "openvino", "views")),
)
VIEWS_TOGETHER = 8  # made by a thread at a time: smaller pieces of work take turns with the network's more often


@dataclass(frozen=True)
class Count:
    """How many feature vectors were in the side cache, and how many were computed."""

    reused: int
    computed: int


class Extractor:
    """Passes views of pictures through the frozen network, in eval mode, and writes what comes out of it."""

    def __init__(self, backbone: Backbone, options: Extract, engine: engines.Engine) -> None:
        self.backbone, self.options, self.engine = backbone, options, engine

    @cached_property
    def network(self) -> engines.Frozen:
        network = without_head(self.backbone.classifier(1))
        return self.engine.frozen(network, self.backbone.preprocessing)

    def extract(self, split: Split, path: Path, *, views: int, what: str = "extract") -> Count:
        """Write the features of `views` views of every picture of a split to `path`.

        What an earlier run computed comes from the side cache; the file's bytes are the same either way.

        Raises:
            UserError: the features are not finite, or the engine cannot run the network.
        """
        count = len(split.pictures)
        tensors = {
            "features": (self.options.stored_as, (count * views, self.backbone.feature_width)),
            "labels": ("int64", (count,)),
            "sha256": ("uint8", (count, 32)),
            "groups": ("int64", (count,)),
        }
        facts = {
            "classes": split.classes,
            "architecture": self.backbone.architecture,
            "weights_sha256": self.backbone.sha256,
            "preprocessing": asdict(replace(self.backbone.preprocessing, white=split.white)),
            "precision": self.engine.precision,
            "engine": self.engine.name,
            "views": views,
            "extract": self.options.model_dump(),
        }
        hashes = [bytes.fromhex(picture.sha256) for picture in split.pictures]
        joined = b"".join(key for picture in split.pictures for key in view_keys(picture, views, self.options))
        keys = np.frombuffer(joined, np.uint8).reshape(-1, KEY_BYTES)
        missing = np.ones(count * views, bool)
        with (
            streamed(path, tensors, facts) as file,
            FeatureCache(self._space(), self.backbone.feature_width) as cache,
        ):

            def keep(places: npt.NDArray[np.intp], rows: npt.NDArray[np.float32]) -> None:
                file.write_at("features", places, self._stored(rows))

            file.write("labels", 0, np.array(split.labels))
            file.write("groups", 0, np.array(split.groups))
            file.write("sha256", 0, np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))
            for places, rows in cache.read(keys):
                missing[places] = False
                keep(places, rows)
            todo = np.flatnonzero(missing)
            done = 0
            for rows in self._computed(todo, split, views=views, what=what):
                places = todo[done : done + len(rows)]
                cache.add(keys[places], rows)
                keep(places, rows)
                done += len(rows)
        return Count(reused=int((~missing).sum()), computed=len(todo))

    def _stored(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Rows as they will stand in the file.

        Raises:
            UserError: they are beyond what its numbers hold.
        """
        with np.errstate(over="ignore"):
            stored = rows.astype(self.options.stored_as)
        if not np.isfinite(stored).all():
            raise UserError(
                f"the features of {self.backbone.architecture} reach {np.abs(rows).max():.6g}, which "
                f"{self.options.stored_as} does not hold: set extract.stored_as = float32"
            )
        return stored

    def _space(self) -> dict[str, Any]:
        """All that shapes a feature beside the picture, its view and its white."""
        return {
            "architecture": self.backbone.architecture,
            "weights_sha256": self.backbone.sha256,
            "preprocessing": {**asdict(self.backbone.preprocessing), "white": None},
            "code": code.digest(*SHAPES_A_FEATURE),
            **self.engine.facts(),
        }

    def _computed(
        self, todo: npt.NDArray[np.intp], split: Split, *, views: int, what: str
    ) -> Iterator[npt.NDArray[np.float32]]:
        """The features of the views `todo` (ascending; view v of picture i is i · views + v), in pieces: (n, D)."""
        wanted = [(split.pictures[i], part) for i, part in per_picture(todo, views)]
        preprocessing = replace(self.backbone.preprocessing, white=split.white)
        make = partial(cut_views, preprocessing=preprocessing, options=self.options)
        stacks = loading.in_threads(loading.in_batches(wanted, max(1, VIEWS_TOGETHER // views)), make, ahead=1)
        bar = console.progress(stacks, total=len(todo), what=what, unit="view", size=len)
        for found in self.network(bar) if wanted else ():
            if not found.isfinite().all():
                raise UserError(
                    f"the features of {self.backbone.architecture} in {self.engine.precision} are not all finite: its "
                    "weights may be damaged, or try extract.precision = float32"
                )
            yield found.numpy()
