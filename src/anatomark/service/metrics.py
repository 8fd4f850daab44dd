"""Numbers of the service for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anatomark.web.access import App, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one service. No label holds anything that a client made up."""

    def __init__(self, waiting: Callable[[], int], ready: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        held: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("anatomark_requests", "Requests answered.", ["method", "path", "status"], **held)
        self.seconds = Histogram("anatomark_request_seconds", "Their time.", ["path"], buckets=_SECONDS, **held)
        self.predictions = Counter("anatomark_predictions", "Images predicted.", ["model"], **held)
        self.refusals = Counter("anatomark_refusals", "Requests refused.", ["reason"], **held)
        Gauge("anatomark_queue_length", "Predictions that wait.", **held).set_function(waiting)
        Gauge("anatomark_ready", "Whether the models are loaded.", **held).set_function(ready)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def around(self, app: App) -> App:
        """`app`, its requests counted by the path they were routed to."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status = time.monotonic(), 500

            async def noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, noting)
            finally:
                path = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
                self.requests.labels(method, path, str(status)).inc()
                self.seconds.labels(path).observe(time.monotonic() - began)

        return counted
