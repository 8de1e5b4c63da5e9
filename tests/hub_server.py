"""A stand-in for the Hugging Face Hub: what pushing and fetching a model ask of it."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandIn:
    """One model repository in memory.

    Attributes:
        files: Content of each file by its path.
        private: Whether it was made as a private one; None before.
    """

    def __init__(self):
        self.files = {}
        self.private = None

    def take(self, lines):
        """Take a commit, a line of JSON for each file."""
        for line in map(json.loads, lines):
            if line["key"] == "file":
                value = line["value"]
                assert value["encoding"] == "base64"
                self.files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "header", line

    def info(self, repo):
        siblings = [{"rfilename": name} for name in self.files]
        return {"id": repo, "sha": COMMIT, "private": bool(self.private), "siblings": siblings}

    def tree(self):
        return [
            {
                "type": "file",
                "path": name,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
            }
            for name, content in self.files.items()
        ]


@contextmanager
def serving(stand_in):
    """Serve it, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self._body()
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                stand_in.private = (
                    bool(asked.get("private")) or asked.get("visibility") == "private"
                )
                self._json({"url": "https://huggingface.co/me/birds", "name": "me/birds"})
            elif self.path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                keep = {"uploadMode": "regular", "shouldIgnore": False}
                self._json({"files": [{"path": f["path"], **keep} for f in files]})
            elif "/commit/" in self.path:
                stand_in.take(body.splitlines())
                self._json(
                    {
                        "commitUrl": f"https://huggingface.co/me/birds/commit/{COMMIT}",
                        "commitOid": COMMIT,
                    }
                )
            else:
                self._json({"error": f"unknown {self.path}"}, 404)

        def do_GET(self):
            found = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+?)(\?.*)?", self.path)
            if found and found[3] in stand_in.files:
                self._file(stand_in.files[found[3]])
            elif "/tree/" in self.path:
                self._json(stand_in.tree())
            elif self.path.startswith("/api/models/") and stand_in.private is not None:
                self._json(stand_in.info("me/birds"))
            else:
                self._json({"error": "Repository not found"}, 404)

        do_HEAD = do_GET

        def _body(self):
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def _file(self, content):
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def _json(self, content, status=200):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
