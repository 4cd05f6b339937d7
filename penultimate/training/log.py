"""training.csv: one row per epoch, the same columns in both modes, flushed as it goes."""

import csv
import importlib.util
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from penultimate import console, environment
from penultimate.params import Keep
from penultimate.training.losses import Score

# What the numbers of a mode's columns are of. A mean over an epoch is behind the weights at its end, and an augmented
# picture is harder than itself: of the two modes' curves, those of val are to be compared.
MEANINGS = {
    "linear": "train and val are of centre crops, after each row's update",
    "finetune": "train is the running mean over the epoch's augmented crops, val is of centre crops after it",
}
LIVE_DAYS = 3  # how long the pages of older runs stay


@dataclass(frozen=True)
class Row:
    """Loss is the mean cross-entropy in nats, accuracy a share from 0 to 1."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float

    @classmethod
    def of(cls, epoch: int, *, train: Score, val: Score) -> "Row":
        """From (loss, accuracy) of both splits."""
        return cls(epoch, *train, *val)


class TrainingLog:
    """Writes rows to a CSV that can be watched while it grows, and to the terminal."""

    def __init__(self, path: Path, *, say: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a read-only link into DVC's cache
        self._stream = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerow(field.name for field in fields(Row))
        self._say = say
        mode = path.parent.name
        self._live = _live(mode) if say else None
        self.rows: list[Row] = []
        if mode in MEANINGS:
            console.say(f"{path}: {MEANINGS[mode]}")

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        if self._live:
            self._live.end()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self._writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in asdict(row).values())
        self._stream.flush()
        if self._live:
            for name, value in asdict(row).items():
                self._live.log_metric(name, value)
            self._live.next_step()
        if self._say:
            console.say(
                f"epoch {row.epoch}: train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}, "
                f"val loss {row.val_loss:.4f} accuracy {row.val_accuracy:.4f}"
            )

    def kept(self, keep: Keep) -> int:
        """The place of the row whose weights are kept; of equally good ones the first."""
        places = range(len(self.rows))
        return places[-1] if keep == "last" else max(places, key=lambda place: self.rows[place].val_accuracy)

    def chosen(self, keep: Keep) -> tuple[str, str]:
        """Which row is kept, in words, and the split it was chosen on (`nothing` or `val`)."""
        if keep == "last":
            return f"the last of {len(self.rows)} epochs", "nothing"
        epoch = self.rows[self.kept(keep)].epoch
        return f"the best of {len(self.rows)} epochs on val itself (epoch {epoch}): an optimistic number", "val"


def _live(mode: str) -> Any:
    """DVCLive, where it is installed, in a folder of this run alone; else None.

    Runs may go on beside each other (`dvc exp run --temp`): `.cache/dvclive/<mode>` leads to what began last.
    """
    if importlib.util.find_spec("dvclive") is None:
        return None
    from dvclive import Live

    runs = environment.cache_folder("dvclive/runs")
    environment.remove_abandoned(runs, days=LIVE_DAYS)
    run = Path(tempfile.mkdtemp(prefix=f"{mode}-{os.environ.get('DVC_EXP_NAME', 'workspace')}-", dir=runs))
    newest, aside = runs.with_name(mode), runs / f"{run.name}.link"
    if newest.is_dir() and not newest.is_symlink():
        shutil.rmtree(newest)  # of before there was a folder per run
    aside.symlink_to(run.relative_to(newest.parent))
    aside.replace(newest)
    return Live(dir=str(run), report="html", save_dvc_exp=False, dvcyaml=None)
