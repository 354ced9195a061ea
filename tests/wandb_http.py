"""The HTTP of tests/wandb_server.py: bodies in chunks and compressed, a key, and answers that are wrong on purpose."""

import base64
import contextlib
import gzip
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

KEY = "4f2d" * 10  # the key that the server accepts


def handler(owner: Any) -> type[BaseHTTPRequestHandler]:
    """Return a handler whose requests `owner` answers, unless `owner.misbehave` wants otherwise."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            self.path = ""

        def _answer(self):
            body = self._body()
            path = self.path.partition("?")[0]
            with owner.lock:
                number = owner.received.count(path)
                owner.received.append(path)
            wrong = owner.misbehave(path, number)
            if wrong == "drop":
                self.close_connection = True
                return
            known = base64.b64encode(f"api:{KEY}".encode()).decode()
            if wrong is None and path == "/graphql" and self.headers.get("Authorization") != f"Basic {known}":
                wrong = 401
            found, status = ({"error": "refused"}, int(wrong)) if wrong else owner.answer(self.command, path, body)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815  names of http.server

        def handle(self):
            with contextlib.suppress(ConnectionError):
                super().handle()

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b""
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    return Handler
