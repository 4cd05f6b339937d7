"""What the user sees of a run: lines, bars, and errors as one line. Nothing here can change an output."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from penultimate.environment import log
from penultimate.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
PLAIN_LINE_EVERY = 15.0  # seconds between progress lines when the output is not a terminal


def run_stage(main: Callable[[], None], *, makes: str) -> None:
    """Run a stage's `main`, as `run_command` does, and say how long it took and where the result is."""
    started = time.monotonic()
    name = Path(sys.argv[0]).stem
    run_command(main, name=name, go_on="`dvc repro` goes on")
    seconds = time.monotonic() - started
    say(f"{name}: done in {seconds:.1f} s, see {makes}")
    log(stage=name, seconds=round(seconds, 2))


def run_command(main: Callable[[], R], *, name: str, go_on: str) -> R:
    """Run `main`; a `UserError` or an error of the system becomes one line and exit code 1.

    `go_on` is what the user is told on Ctrl-C.
    """
    try:
        return main()
    except UserError as error:
        sys.exit(f"{name}: {' '.join(str(error).split())}")
    except OSError as error:
        sys.exit(f"{name}: {error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped; {go_on}")


def say(line: str) -> None:
    """Print a line for the user, at once."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def warn(line: str) -> None:
    """Print a warning to standard error."""
    tqdm.write(f"warning: {line}", file=sys.stderr)


def progress(
    items: Iterable[T],
    *,
    total: int,
    what: str,
    unit: str = "picture",
    size: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Pass `items` through, showing a bar with rate and remaining time on a terminal, else plain lines.

    `total` and the rate are in `unit`s, of which an item counts `size(item)`.
    """
    with progress_bar(total=total, what=what, unit=unit) as advance:
        for item in items:
            yield item
            advance(size(item))


class progress_bar:  # noqa: N801 (used as a verb: `with progress_bar(...) as advance`)
    """Show work of known `total`; entering gives `advance(count)`. A total of 0 means unknown."""

    def __init__(self, *, total: int, what: str, unit: str = "picture", binary_scale: bool = False) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, 0
        self.started = self.last_line = time.monotonic()
        self.bar = tqdm(
            total=total or None,
            desc=what,
            unit=unit if binary_scale else f" {unit}s",
            unit_scale=binary_scale,
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )

    def __enter__(self) -> Callable[[int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self, count: int) -> None:
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.last_line > PLAIN_LINE_EVERY:
            self.last_line = now
            rate = self.done / (now - self.started)
            left = f", {(self.total - self.done) / rate:.0f} s left" if self.total else ""
            of = f" of {self.total}" if self.total else ""
            say(f"{self.what}: {self.done}{of} {self.unit}s, {rate:.1f} {self.unit}s/s{left}")
