"""A server of files on this machine that can cut connections, and tells what it sent."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path -> bytes).

    Attributes:
        ranges: Whether requests for a part of a file are honoured.
        cut: Bytes after which the next answers break off, one entry per answer.
        sent: (path, bytes of the body sent) of each answer.
    """

    def __init__(self, ranges=True):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.ranges, self.cut, self.sent = {}, ranges, [], []
        self.lock = threading.Lock()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/")
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if not self.server.ranges:
            start, asked = 0, None
        if asked and start >= len(content):
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with self.server.lock:
            limit = self.server.cut.pop(0) if self.server.cut else len(body)
            self.server.sent.append((name, min(limit, len(body))))
        self.wfile.write(body[:limit])

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving(ranges=True):
    """A running server."""
    server = FileServer(ranges)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
