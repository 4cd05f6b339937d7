"""What the user sees of a run: lines, bars, and errors as one line. Nothing here can change an output.

Names are not ours: what a terminal would act on is escaped, what its encoding lacks too. What libraries warn of is for
developers, and shown where it is asked for (`python -W default`, `PYTHONWARNINGS`).
"""

import io
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from penultimate.environment import have_a_home, log
from penultimate.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
PLAIN_LINE_EVERY = 15.0  # seconds between progress lines when the output is not a terminal
LONGEST_LIST = 100  # characters of counts by name
NOBODY_READS = 128 + signal.SIGPIPE  # what a shell says of a program that wrote into a closed pipe
# Controls, of which a terminal makes colours, titles and lines that were never said, and marks that reorder a line
# (https://trojansource.codes).
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def run_stage(main: Callable[[], None], *, makes: str) -> None:
    """Run a stage's `main`, as `run_command` does, and say how long it took and where the result is."""
    name = Path(sys.argv[0]).stem

    def timed() -> None:
        started = time.monotonic()
        main()
        seconds = time.monotonic() - started
        say(f"{name}: done in {seconds:.1f} s, see {makes}")
        log(stage=name, seconds=round(seconds, 2))

    run_command(timed, name=name, go_on="`dvc repro` goes on")


def run_command(main: Callable[[], R], *, name: str, go_on: str) -> R:
    """Run `main`; a `UserError`, an error of the system or a lack of memory becomes one line and exit code 1.

    Where nobody reads what it prints any more (`| head`), it ends without a word, as other programs do.
    `go_on` is what the user is told on Ctrl-C.
    """
    have_a_home()
    with _standard_streams(), _quiet_libraries():
        try:
            return main()
        except UserError as error:
            reason = " ".join(str(error).split())
        except BrokenPipeError:
            sys.exit(NOBODY_READS)
        except OSError as error:
            reason = f"{error.filename or 'the system'}: {error.strerror or error}"
        except MemoryError:
            reason = "out of memory"
        except KeyboardInterrupt:
            reason = f"stopped; {go_on}"
        sys.exit(f"{name}: {escaped(reason)}")


@contextmanager
def _standard_streams() -> Iterator[None]:
    """Let each line out as it is printed, with escapes for what the encoding lacks, and end quietly.

    What is read may hold paths, which are bytes.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        yield
    finally:
        for stream in streams:
            try:
                stream.flush()
            except OSError:  # Python flushes once more at its end, and would complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep the warnings of libraries to those who asked for them."""
    if sys.warnoptions:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def escaped(text: str) -> str:
    """`text` on one line, and with nothing in it that a terminal would act on."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def counts_in_words(counts: Mapping[str, int], most: int = 8) -> str:
    """How many there are of each name: `6 cats, 6 dogs`; of more than `most` names only the range."""
    listed = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    if len(counts) <= most and len(listed) <= LONGEST_LIST:
        return listed
    fewest, highest = min(counts.values()), max(counts.values())
    return f"{len(counts):,} classes, {fewest:,}{f' to {highest:,}' if highest > fewest else ''} each"


def duration_in_words(seconds: float) -> str:
    """`40 seconds`, `12 minutes` or `3.5 hours`."""
    for limit, unit, name in ((100, 1, "second"), (6000, 60, "minute")):
        if seconds < limit:
            count = max(1, round(seconds / unit))
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def say(line: str) -> None:
    """Print a line for the user, at once."""
    tqdm.write(escaped(line), file=sys.stdout)
    sys.stdout.flush()


def warn(line: str) -> None:
    """Print a warning to standard error."""
    tqdm.write(escaped(f"warning: {line}"), file=sys.stderr)


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
            desc=escaped(what),
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
