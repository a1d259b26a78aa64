"""How a collector of spans is spoken to: it leads nobody elsewhere, and is bounded in time and size.

`requests` counts its seconds anew at each byte that comes, so a byte now and then would hold the caller for
ever. Here the seconds are those of the whole call. Knows nothing of spans. Needs the extra `otel`.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Self, cast

import requests
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import BaseHTTPResponse

ANSWER_BYTES_MAX: Final = 64 * 1024  # they are empty, or a sentence
AGAIN_SECONDS: Final = 0.1  # the socket may have been between two hands


class CollectorSession(requests.Session):
    """Takes no nonsense for consent (OTLP, 1.0)."""

    def __init__(self) -> None:
        super().__init__()
        self._refused = 0

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        with _Call(self._connection(request, options), options["timeout"]) as call:
            response = super().send(request, **options | {"stream": True, "allow_redirects": False})
            call.answer = response.raw
            data = response.raw.read(ANSWER_BYTES_MAX, decode_content=True)
        if call.is_cut:
            raise requests.ReadTimeout
        response.raw = BytesIO(data)
        if response.ok and not self._is_consent(response.status_code, data):
            response.status_code = HTTPStatus.BAD_REQUEST  # a try again would not be understood either
        return response

    def _connection(self, request: requests.PreparedRequest, options: dict[str, Any]) -> HTTPConnection:
        """The one that the pool gives out next: the last that came in."""
        adapter = cast("HTTPAdapter", self.get_adapter(cast("str", request.url)))
        pool = cast(
            "HTTPConnectionPool",
            adapter.get_connection_with_tls_context(
                request, options.get("verify"), options.get("proxies"), options.get("cert")
            ),
        )
        connection = pool._get_conn()  # noqa: SLF001 - there is no other way to its socket before it answers
        pool._put_conn(connection)  # noqa: SLF001 - nor one back
        return cast("HTTPConnection", connection)

    def _is_consent(self, status: int, data: bytes) -> bool:
        if status != HTTPStatus.OK:
            return False
        try:
            told = ExportTraceServiceResponse.FromString(data)
        except DecodeError:
            return False
        self._refused += max(told.partial_success.rejected_spans, 0)
        return True

    def take_refused(self) -> int:
        """Spans that were read and not kept, of the last batch."""
        refused, self._refused = self._refused, 0
        return refused


class _Call:
    """Ends the connection under a call that is not over in time, whatever it waits for."""

    def __init__(self, connection: HTTPConnection, seconds: float) -> None:
        self.is_cut = False
        self.answer: BaseHTTPResponse | None = None  # once its head is there
        self._connection = connection
        self._seconds = seconds
        self._is_over = Event()

    def __enter__(self) -> Self:
        Thread(target=self._watch, name="weir-spans-deadline", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        seconds = self._seconds
        while not self._is_over.wait(seconds):
            self.is_cut = True
            seconds = AGAIN_SECONDS
            with suppress(OSError, ValueError, RuntimeError):  # not connected yet, or over just now
                self._cut()

    def _cut(self) -> None:
        sock = self._connection.sock
        if self.answer is not None:
            self.answer.shutdown()
        elif sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
