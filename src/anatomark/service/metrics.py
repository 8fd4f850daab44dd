"""Metrics of the service for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anatomark.web.access import App, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Metrics of one service. No label contains text from a client."""

    def __init__(self, waiting: Callable[[], int], ready: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "anatomark_requests", "Requests answered.", ["method", "path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "anatomark_request_seconds", "Time to answer a request.", ["path"], buckets=_SECONDS, registry=registry
        )
        self.predictions = Counter("anatomark_predictions", "Images predicted.", ["model"], registry=registry)
        self.refusals = Counter("anatomark_refusals", "Requests refused.", ["reason"], registry=registry)
        Gauge("anatomark_queue_length", "Waiting predictions.", registry=registry).set_function(waiting)
        Gauge("anatomark_ready", "Whether the models are loaded.", registry=registry).set_function(ready)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def around(self, app: App) -> App:
        """`app` with its requests counted by their route."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status = time.monotonic(), 500

            async def send_counted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, send_counted)
            finally:
                path = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
                self.requests.labels(method, path, str(status)).inc()
                self.seconds.labels(path).observe(time.monotonic() - began)

        return counted
