"""An OTLP receiver over HTTP: keeps what it is sent, decoded by OpenTelemetry's own protocol; may be slow, down or mad."""

from __future__ import annotations

import asyncio

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.patience import until


class Span:
    """A span with what is around it, easy to read."""

    def __init__(self, span, resource):
        self.name = span.name
        self.kind = span.kind
        self.trace_id = span.trace_id.hex()
        self.span_id = span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.start = span.start_time_unix_nano
        self.end = span.end_time_unix_nano
        self.is_error = span.status.code == 2
        self.attributes = {each.key: _value(each.value) for each in span.attributes}
        self.resource = {each.key: _value(each.value) for each in resource.attributes}


def _value(value):
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(each) for each in found.values] if kind == "array_value" else found


class Collector:
    def __init__(self):
        self.spans: list[Span] = []
        self.headers: list = []  # of each batch
        self.url = ""
        self.status = 200
        self.body = ExportTraceServiceResponse().SerializeToString()
        self.delay = 0.0

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        return app

    async def _take(self, request):
        data = await request.read()
        self.headers.append(request.headers.copy())
        await asyncio.sleep(self.delay)
        if self.status == 200:
            told = ExportTraceServiceRequest.FromString(data)
            self.spans += [
                Span(span, group.resource)
                for group in told.resource_spans
                for scope in group.scope_spans
                for span in scope.spans
            ]
        return web.Response(status=self.status, body=self.body, content_type="application/x-protobuf")

    async def trace(self, request_id):
        """All spans of the exchange with this id, by their names; those of kind CLIENT as "client"."""

        def found():
            roots = [span for span in self.spans if span.attributes.get("weir.request_id") == request_id]
            below = [span for span in self.spans if roots and span.parent_id == roots[0].span_id]
            return {("client" if span.kind == 3 else span.name): span for span in [*roots, *below]}

        return await until(found, f"the spans of {request_id}")
