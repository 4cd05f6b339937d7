"""A small web server for tests: it knows ranges, and misbehaves on request."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What the server answers at one path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    declared: bool = True  # whether Content-Length is sent
    cuts: list[int] = field(default_factory=list)  # the n-th answer breaks off after so many bytes of its body
    failures: list[int] = field(default_factory=list)  # the n-th answer is this status instead
    delays: list[float] = field(default_factory=list)  # the n-th answer comes after so many seconds


@dataclass
class Server:
    """Pages by path, and the headers of the requests that came, in order."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(**pages: Page) -> Iterator[Server]:
    """Serve `pages`, each at `/<its name>`, on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(dict(self.headers))
            page = server.pages.get(self.path.split("?")[0].strip("/"), Page(status=404))
            if page.delays:
                time.sleep(page.delays.pop(0))
            if page.failures:
                self.send_error(page.failures.pop(0))
                return
            body, status = page.body, page.status
            wanted = self.headers.get("Range")
            version = self.headers.get("If-Range")
            if wanted and page.ranges and version in {None, *page.headers.values()}:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                status, body = 206, body[start:]
            self.send_response(status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if page.declared:
                self.send_header("Content-Length", str(len(body)))
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
            self.end_headers()
            self.wfile.write(body[: page.cuts.pop(0)] if page.cuts else body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(url=f"http://127.0.0.1:{http.server_port}", pages=dict(pages))
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()
