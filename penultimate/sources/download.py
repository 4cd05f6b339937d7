"""Files from the network, over http(s), resumed where they were cut.

Complete files lie in `.cache/downloads/`; a partial one beside its target as `<name>.part`, never under the
target's name. urllib does it, since it takes proxies from the environment and certificates from the system.
"""

import base64
import fcntl
import hashlib
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from penultimate import console, environment
from penultimate.errors import UserError
from penultimate.files import atomic
from penultimate.files.text import write_text

TRIES = 5  # in a row without a new byte
FIRST_WAIT = 1.0  # seconds before the second try; doubled before each further one
MOST_BYTES = 100 * 2**30
CHUNK = 2**18  # bytes
SHA256_DIGITS = 64
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
TRY_AGAIN = (408, 429)  # the client errors that pass by themselves


class _InterruptedError(Exception):
    """Something that another try may mend; the message is the reason."""


def fetch(url: str, *, sha256: str | None = None, into: Path | None = None, max_bytes: int = MOST_BYTES) -> Path:
    """Download `url` and return the path of the complete file.

    With `sha256` (all 64 hex digits, or the first 8 or more) a file that is already there and right is used again
    without a request. Without it the file is downloaded anew, since the remote may have changed; a download that was
    cut is resumed only if the server confirms that it still has the same version.

    Args:
        url: https, or http where all digits of its hash pin the file or the server is this machine; the same holds
            for where it redirects to. `user:password@` is sent to this server, not to another.
        sha256: what the file must hash to.
        into: the folder for the file, which is named as in the URL; by default one of its own in `.cache/downloads/`.
        max_bytes: the largest file to accept.

    Raises:
        UserError: no such address, no answer, refused, too large, or not the expected bytes.
    """
    parts = _split(url)
    if not _is_safe(parts, sha256):
        raise UserError(
            f"{public_url(url)}: over http:// anybody on the way may send something else: use https://, or pin the "
            f"file with all {SHA256_DIGITS} digits of its sha256"
        )
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = (into or environment.cache_folder("downloads") / key) / _file_name(parts)
    with one_at_a_time(key):
        if sha256 and target.is_file() and atomic.sha256_of(target).startswith(sha256):
            return target
        part = _Part(target.with_name(target.name + ".part"), sha256)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _persist(parts, part, max_bytes)
        except OSError as error:  # the disk's: the network's have been translated
            raise UserError(f"{part.path}: cannot be written ({error.strerror})") from None
        if sha256:
            try:
                require_sha256(part.path, sha256, shown=public_url(url))
            except UserError:
                part.discard()
                raise
        part.path.replace(target)
        part.discard()
        return target


def require_sha256(path: Path, expected: str, *, shown: str) -> None:
    """Check a file's bytes against a sha256 or its first digits.

    Raises:
        UserError: they differ; the message calls the file `shown`.
    """
    found = atomic.sha256_of(path)
    if not found.startswith(expected):
        raise UserError(f"{shown}: expected sha256 {expected}, found {found}: not the file that was meant")


def public_url(url: str) -> str:
    """`url` without what may be secret: user, password and query."""
    parts = _split(url)
    return f"{parts.scheme}://{_host(parts)}{parts.path}"


@dataclass(frozen=True)
class _Part:
    """A partial download: its bytes so far, and the server's word for the version that they are of."""

    path: Path
    sha256: str | None  # it will tell in the end whether the pieces fit together

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".version")

    def headers(self) -> dict[str, str]:
        """What to ask for: the rest, if it is known to fit, else everything."""
        version = self._note.read_text(encoding="utf-8") if self._note.exists() else ""
        if not self.size or not (version or self.sha256):
            return {}
        return {"Range": f"bytes={self.size}-"} | ({"If-Range": version} if version else {})

    def begin(self, answer: http.client.HTTPResponse) -> None:
        """Start over, with the version that is now being sent."""
        self.discard()
        etag = answer.headers.get("ETag", "")
        # A weak ETag promises the same meaning, not the same bytes: it cannot join two pieces.
        version = etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")
        write_text(self._note, version)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _persist(parts: SplitResult, part: _Part, max_bytes: int) -> None:
    """Try again after interruptions, as long as each brings new bytes or there are tries left."""
    failures, furthest = 0, part.size
    while True:
        try:
            return _receive(parts, part, max_bytes)
        except _InterruptedError as interruption:
            if part.size > furthest:
                failures, furthest = 0, part.size
            failures += 1
            if failures == TRIES:
                raise UserError(
                    f"{public_url(parts.geturl())}: gave up on {_host(parts)} ({interruption}): check the network "
                    "and the proxy settings, then run again"
                ) from None
            wait = FIRST_WAIT * 2 ** (failures - 1)
            console.say(f"{_host(parts)}: {interruption}; trying again in {wait:g} s")
            time.sleep(wait)


def _receive(parts: SplitResult, part: _Part, max_bytes: int) -> None:
    """One request: add what comes to `part`.

    Raises:
        _InterruptedError: the end was not reached.
    """
    with _open(parts, part) as answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.begin(answer)
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
            part.discard()
            raise _InterruptedError("the server sent another range than asked for")
        size, left = part.size, answer.length
        total = size + (left or 0)
        with (
            part.path.open("ab") as stream,
            console.progress_bar(
                total=0 if left is None else total,
                what=f"downloading {_file_name(parts)}",
                unit="byte",
                binary_scale=True,
            ) as advance,
        ):
            advance(size)
            for chunk in _chunks(answer):
                size += len(chunk)
                if max(size, total) > max_bytes:
                    part.discard()
                    raise UserError(f"{public_url(parts.geturl())}: larger than the limit of {max_bytes} bytes")
                stream.write(chunk)
                advance(len(chunk))
        if left is not None and size < total:
            raise _InterruptedError(f"the connection was cut after {size} of {total} bytes")


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := answer.read1(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(_reason(error)) from None


def _open(parts: SplitResult, part: _Part) -> http.client.HTTPResponse:
    shown = public_url(parts.geturl())
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?") if parts.query else ""
    headers = {"User-Agent": "penultimate"} | part.headers()
    request = urllib.request.Request(f"{parts.scheme}://{_host(parts)}{path}{query}", headers=headers)
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    try:
        opener = urllib.request.build_opener(_Redirects(part.sha256))
        answer = opener.open(request, timeout=environment.number_from_environment("PENULTIMATE_TIMEOUT", 30))
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.discard()
            raise _InterruptedError("the partial file does not fit the server's") from None
        if error.code in TRY_AGAIN or error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _InterruptedError(f"HTTP status {error.code} ({error.reason})") from None
        if error.code < http.HTTPStatus.BAD_REQUEST:
            raise UserError(f"{shown}: too many redirects: check the address") from None
        raise UserError(f"{shown}: HTTP status {error.code} ({error.reason}): check the address") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise UserError(f"{shown}: not a valid address ({error})") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise UserError(f"{shown}: the certificate of {_host(parts)} is not trusted ({_reason(error)})") from None
        raise _InterruptedError(_reason(error)) from None
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects between web servers, but never from an encrypted connection to an open one.

    Nor to an open one at all that could not have been asked directly.
    """

    def __init__(self, sha256: str | None = None) -> None:
        self.sha256 = sha256

    def redirect_request(  # noqa: PLR0917 (urllib's signature)
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        parts = urlsplit(newurl)
        if parts.scheme not in {"https", req.type}:
            raise UserError(
                f"{public_url(req.full_url)}: redirects from {req.type} to {parts.scheme}, which is refused"
            )
        if not _is_safe(parts, self.sha256):
            raise UserError(
                f"{public_url(req.full_url)}: redirects to http://{_host(parts)}, which is refused: pin the file with "
                f"all {SHA256_DIGITS} digits of its sha256"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def one_at_a_time(key: str) -> Iterator[None]:
    """Let parallel experiments that want the same file take turns: they share its partial download."""
    with (environment.cache_folder("downloads") / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    shown = re.sub("//.*@", "//", url)  # no password
    raise UserError(f"{shown}: not an address that starts with http:// or https://")


def _is_safe(parts: SplitResult, sha256: str | None) -> bool:
    """Whether what comes can be nothing else than what was meant: a few digits of a hash can be met by trying."""
    return parts.scheme == "https" or parts.hostname in THIS_MACHINE or len(sha256 or "") == SHA256_DIGITS


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _file_name(parts: SplitResult) -> str:
    """The last part of the URL's path, made safe as a file's name."""
    name = PurePosixPath(unquote(parts.path)).name
    return re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII)[-100:].lstrip(".") or "download"


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
