"""A proxy between a client and a server of HTTP that lets chosen requests fail.

A rule looks at each request and returns what happens to it; None passes it on as it is.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import attrs

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@attrs.frozen(kw_only=True)
class Fault:
    """What happens to a request.

    Attributes:
        is_passed_on: Whether the server gets it nevertheless.
        status: What is answered instead of the server's answer; None to cut the connection.
        code: The code in the body of that answer.
        detail: What else stands in the body.
        truncate: Whether the server's answer is cut off in the middle.
        wait: What the answer waits for.
    """

    is_passed_on: bool = False
    status: int | None = None
    code: str = ""
    detail: str = ""
    truncate: bool = False
    wait: threading.Event | None = None


CUT = Fault()
LOST_ANSWER = Fault(is_passed_on=True)
TRUNCATED = Fault(is_passed_on=True, truncate=True)
INTERNAL_ERROR = Fault(status=500, code="InternalError")
SLOW_DOWN = Fault(status=503, code="SlowDown")
WRONG_REGION = Fault(
    status=400, code="AuthorizationHeaderMalformed", detail="<Region>eu-north-1</Region>"
)
REDIRECT = Fault(status=301, code="PermanentRedirect")
CLOCK_SKEW = Fault(status=403, code="RequestTimeTooSkewed")
WRONG_SECRET = Fault(
    status=403,
    code="SignatureDoesNotMatch",
    detail="<CanonicalRequest>x-amz-security-token:canary-token-7d1e</CanonicalRequest>",
)
DENIED = Fault(status=403, code="AccessDenied")

Rule = Callable[[str, str], Fault | None]


def nothing(method: str, path: str) -> Fault | None:
    """Let everything pass."""
    return None


def first(count: int, fault: Fault, method: str = "", part: str = "") -> Rule:
    """Let the first *count* requests of that method, whose path holds *part*, fail."""
    left = [count]
    lock = threading.Lock()

    def rule(asked: str, path: str) -> Fault | None:
        with lock:
            if left[0] and method in {"", asked} and part in path:
                left[0] -= 1
                return fault
        return None

    return rule


def always(fault: Fault, method: str = "", part: str = "") -> Rule:
    """Let every request of that method, whose path holds *part*, fail."""
    return first(-1, fault, method, part)


class FaultProxy:
    """A proxy that runs.

    Attributes:
        endpoint: Its address.
        rule: What happens to requests.
        seen: The method and path of each request, in order.
        without: Headers that are not passed on.
    """

    def __init__(self, target: str) -> None:
        self.rule: Rule = nothing
        self.seen: list[tuple[str, str]] = []
        self.without: tuple[str, ...] = ()
        self._target = urlsplit(target).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy._serve(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients come and go."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.seen.append((handler.command, handler.path))
        fault = self.rule(handler.command, handler.path)
        if fault is not None and fault.wait is not None:
            fault.wait.wait(30)
        if fault is None or fault.is_passed_on:
            self._pass_on(handler, body, fault)
        elif fault.status is None:
            _cut(handler)
        else:
            text = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code>{fault.detail}</Error>"
            body = b"" if handler.command == "HEAD" else text.encode()
            _answer(handler, fault.status, {}, len(text), body)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes, fault: Fault | None) -> None:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        with contextlib.closing(connection):
            dropped = {name.lower() for name in self.without}
            kept = {
                name: each for name, each in handler.headers.items() if name.lower() not in dropped
            }
            connection.request(handler.command, handler.path, body, kept)
            answer = connection.getresponse()
            held = answer.read()
            told = int(answer.headers.get("Content-Length") or len(held))
            if fault is not None and not fault.truncate:
                _cut(handler)
                return
            headers = dict(answer.headers.items())
            sent = held[: len(held) // 2] if fault is not None else held
            _answer(handler, answer.status, headers, told, sent)
            if fault is not None:
                _cut(handler)


def _answer(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], length: int, body: bytes
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        if name.lower() not in HOP_BY_HOP:
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(body)


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.flush()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """Run a proxy before *target* for the time of the block."""
    proxy = FaultProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
