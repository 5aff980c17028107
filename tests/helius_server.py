"""A server with the shape of Helius' API of webhooks, which can also fail as it does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "4f0c8d1e-1c1b-4f6e-9a55-0d3f2b7c9e11"


class Helius:
    """The account of KEY: its webhooks by id, and what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.webhooks: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request."""
        self.failures: list[tuple[int, dict[str, str]]] = []
        """Statuses and headers of the next answers; status 0 ends the connection."""
        self.does_first = False
        """Whether a request that fails has been carried out."""
        self.shows_authorization = True

    def add(self, webhook: dict[str, Any]) -> dict[str, Any]:
        webhook_id = f"00000000-0000-0000-0000-{len(self.webhooks) + 1:012}"
        self.webhooks[webhook_id] = {"webhookID": webhook_id, "wallet": "w", "active": True, **webhook}
        return self.webhooks[webhook_id]

    def changes(self) -> list[str]:
        return [method for method, _ in self.asked if method != "GET"]

    def seen(self, webhook: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value for name, value in webhook.items() if self.shows_authorization or name != "authHeader"
        }

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        base, _, webhook_id = path.removeprefix("/v0/webhooks").partition("/")
        if base or not path.startswith("/v0/webhooks"):
            return 404, {"error": "Not Found"}
        if method == "GET":
            return 200, [self.seen(one) for one in self.webhooks.values()]
        if method == "POST":
            return 201, self.seen(self.add(body))
        if webhook_id not in self.webhooks:
            return 404, {"error": "Not Found"}
        if method == "PUT":
            self.webhooks[webhook_id] |= {**body, "active": True}
            return 200, self.seen(self.webhooks[webhook_id])
        del self.webhooks[webhook_id]
        return 204, None


@contextmanager
def helius_server() -> Iterator[Helius]:
    """It listens in a thread, because commands have a loop of their own."""
    account = Helius()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            where = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            account.asked.append((self.command, where.path))
            headers: dict[str, str] = {}
            if account.failures:
                status, headers = account.failures.pop(0)
                content: Any = {"error": f"api-key={KEY} is busy"}
                if account.does_first:
                    account.answer(self.command, where.path, body)
                if status == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
            elif parse_qs(where.query).get("api-key") != [KEY]:
                status, content = 401, {"error": "invalid api key"}
            else:
                status, content = account.answer(self.command, where.path, body)
            sent = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    account.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
