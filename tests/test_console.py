"""What a terminal is given: lines that are safe, quiet and short, whatever names and libraries bring."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penultimate import console

STAGE = """
import logging, sys, warnings
from penultimate import console, environment
environment.log = lambda **facts: None
def main():
{body}
console.run_stage(main, makes="nothing")
"""


def stage(body: str, *options: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a stage's main in a process of its own; `shell` follows it, as a user types it."""
    code = STAGE.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    command = [sys.executable, *options, "-c", code]
    if shell:
        command = ["bash", "-o", "pipefail", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **environment},
    )


@given(st.text(st.characters(codec=None)))
def test_a_line_holds_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = console.escaped(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in shown)
    if text.isprintable():
        assert shown == text


def test_names_reach_no_terminal_as_commands(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("\x1b[2Jcats\r: 1\n2")
    console.warn("\x1b]0;title\a, \udce9, \u202eexe")
    said = capsys.readouterr()
    assert said.out == "\\x1b[2Jcats\\r: 1\\n2\n"
    assert said.err == "warning: \\x1b]0;title\\x07, \\udce9, \\u202eexe\n"
    done = stage("from penultimate.errors import UserError; raise UserError('\\x1b[2Jcats')")
    assert done.stderr == b"-c: \\x1b[2Jcats\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict", "utf-8"])
def test_no_encoding_is_too_small(encoding: str) -> None:
    body = "console.say('caf\\xe9 \\u732b \\udce9'); console.warn('\\u732b \\udce9'); print('\\u732b')"
    done = stage(body, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert b"\\udce9\n" in done.stdout
    assert "猫".encode() in done.stdout if encoding == "utf-8" else b"\\u732b" in done.stdout


def test_a_closed_pipe_ends_it_quietly() -> None:
    done = stage("for i in range(100_000): console.say(f'line {i}')", shell="| head -1")
    assert (done.stdout, done.stderr, done.returncode) == (b"line 0\n", b"", 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_behind_the_terminal_is_one_line() -> None:
    done = stage("console.say('line')", shell="> /dev/full")
    assert done.returncode == 1
    assert done.stderr.decode() == f"-c: the system: {os.strerror(errno.ENOSPC)}\n"


def test_too_little_memory_is_one_line() -> None:
    done = stage("raise MemoryError")
    assert (done.stderr, done.returncode) == (b"-c: out of memory\n", 1)


def test_warnings_of_libraries_are_shown_to_those_who_ask() -> None:
    body = "warnings.warn('for developers'); logging.warning('logged'); console.warn('for users')"
    assert stage(body).stderr == b"warning: for users\n"
    assert stage("logging.error('a fault')").stderr == b"ERROR:root:a fault\n"
    assert b"WARNING:root:logged" in stage(body, "-W", "default").stderr
    assert b"UserWarning: for developers" in stage(body, "-W", "default").stderr
    assert b"UserWarning: for developers" in stage(body, PYTHONWARNINGS="default").stderr
    assert b"UserWarning: for developers" in stage(body, "-W", "error").stderr


def test_durations_are_rounded_as_one_speaks() -> None:
    said = [console.duration_in_words(seconds) for seconds in (0, 1.4, 40, 99, 100, 720, 5990, 12_600)]
    short, long = (
        ["1 second", "1 second", "40 seconds", "99 seconds"],
        ["2 minutes", "12 minutes", "100 minutes", "3.5 hours"],
    )
    assert said == short + long


def test_counts_are_listed_while_they_are_few() -> None:
    assert console.counts_in_words({"dogs": 6, "cats": 1200}) == "1,200 cats, 6 dogs"
    many = {f"class {i}": 12 + i for i in range(81)}
    assert console.counts_in_words(many) == "81 classes, 12 to 92 each"
    assert console.counts_in_words(dict.fromkeys(many, 5)) == "81 classes, 5 each"
    assert console.counts_in_words({"a" * 255: 1, "b": 2}) == "2 classes, 1 to 2 each"
    assert console.counts_in_words({}) == ""
