"""What the workers do, read from the scoreboard: as metrics, as JSON, as a page, and whether to send us requests.

All of it is a report: nothing here changes what the server does. Prometheus' text format is described at
https://prometheus.io/docs/instrumenting/exposition_formats/. The page itself is statuspage.py.
"""

import collections
import json
import time

from asynchttpd import scoreboard, statuspage
from asynchttpd.scoreboard import LEAVING, RETIRING, SERVING, STATE, TURNED

HISTORY = 120  # seconds that the page's line goes back
HUNG_AFTER = 3.0  # seconds after which a loop that has not turned does not serve
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
MAX_STREAMS = 64  # pages that are kept up to date at a time; above it 503

CONNECTION_STATES = ("waiting", "head", "body", "application", "sending", "lingering")  # the order of STATES
WORKER_STATES = ("free", "booting", "serving", "retiring", "leaving", "ending", "hung")  # of STATE's values
CAUSES = ("failed", "killed", "hung", "asked", "reload", "told", "surplus")


def is_turning(row, now: float) -> bool:
    """Tell whether the worker of *row* has turned its loop lately; *now* is time.monotonic()."""
    return row[TURNED] > 1000 * (now - HUNG_AFTER)


def is_healthy(board, now: float) -> bool:
    """Tell whether we want requests: not when the server is about to stop, nor when no worker serves."""
    rows = [row for row in board if row[STATE] in (SERVING, RETIRING)]
    return not board.master[scoreboard.STOPPING] and any(is_turning(row, now) for row in rows)


def worker_state(row, now: float) -> str:
    if row[STATE] in (SERVING, RETIRING, LEAVING) and not is_turning(row, now):
        return "hung"
    return WORKER_STATES[row[STATE]]


def workers(board, now: float) -> list[dict]:
    """Return what there is to say about each worker; times in seconds, memory in bytes."""
    return [
        {
            "slot": slot,
            "pid": row[scoreboard.PID],
            "state": worker_state(row, now),
            "started": row[scoreboard.STARTED],
            "requests": row[scoreboard.REQUESTS],
            "bytes": row[scoreboard.BYTES],
            "connections": dict(zip(CONNECTION_STATES, row[scoreboard.STATES], strict=True)),
            "busy": row[scoreboard.BUSY] / 1e6,
            "idle": row[scoreboard.IDLE] / 1e6,
            "lag": row[scoreboard.LAG] / 1e6,
            "oldest": row[scoreboard.OLDEST] / 1e6,
            "turned": max(0.0, round(now - row[TURNED] / 1000, 1)) if row[TURNED] else None,
            "memory": row[scoreboard.RSS],
            "threads": row[scoreboard.THREADS],
            "queued": row[scoreboard.QUEUED],
        }
        for slot, row in enumerate(board)
        if row[STATE] != scoreboard.FREE
    ]


def totals(board) -> dict[str, int]:
    """Return what all workers have done since the server was started, those that have ended included."""
    rows = [board.ended, *board]
    answers = [sum(column) for column in zip(*(row[scoreboard.ANSWERS] for row in rows), strict=True)]
    return {
        "requests": sum(row[scoreboard.REQUESTS] for row in rows),
        "bytes": sum(row[scoreboard.BYTES] for row in rows),
        "refused": sum(row[scoreboard.REFUSED] for row in rows),
        **{f"{digit}xx": answers[digit] for digit in range(1, 6)},
    }


def report(board, now: float, history=()) -> dict:
    """Return everything as plain data for JSON; *history* has the requests of each of the last seconds."""
    causes = board.master[scoreboard.BY_CAUSE : scoreboard.BY_CAUSE + len(CAUSES)]
    return {
        "healthy": is_healthy(board, now),
        "stopping": bool(board.master[scoreboard.STOPPING]),
        "wanted": board.master[scoreboard.WANTED],
        "workers": workers(board, now),
        "totals": totals(board),
        "replaced": dict(zip(CAUSES, causes, strict=True)),
        "events": [{"time": when, "pid": pid, "cause": CAUSES[why]} for when, pid, why in board.events()],
        "history": list(history),
    }


# Prometheus.


def metrics(facts: dict) -> str:
    """Return the *facts* of report() in Prometheus' text format."""
    total, rows = facts["totals"], facts["workers"]
    states = collections.Counter(row["state"] for row in rows)
    connections = {state: sum(row["connections"][state] for row in rows) for state in CONNECTION_STATES}

    def each(name, scale=1):
        return [(f'worker="{row["slot"]}"', row[name] * scale) for row in rows]

    def loop():
        return [(f'worker="{row["slot"]}",state="{state}"', row[state]) for row in rows for state in ("busy", "idle")]

    def by(label, numbers):
        return [(f'{label}="{name}"', number) for name, number in numbers.items()]

    families = [
        ("up", "gauge", "1 while the server wants requests, as /health says", [("", int(facts["healthy"]))]),
        ("requests_total", "counter", "Answers sent or cut off", [("", total["requests"])]),
        ("sent_bytes_total", "counter", "Bytes of answers sent", [("", total["bytes"])]),
        ("responses_total", "counter", "Answers by class of status", by("class", {c: total[c] for c in CLASSES})),
        ("refused_connections_total", "counter", "Connections there was no room for", [("", total["refused"])]),
        ("connections", "gauge", "Open connections by what they do", by("state", connections)),
        ("workers_wanted", "gauge", "Workers there should be", [("", facts["wanted"])]),
        ("workers", "gauge", "Workers by state", by("state", {state: states[state] for state in WORKER_STATES[1:]})),
        ("replaced_workers_total", "counter", "Workers replaced, or too many", by("cause", facts["replaced"])),
        ("loop_seconds_total", "counter", "Time in which the loop worked (busy) and waited (idle)", loop()),
        ("loop_lag_seconds", "gauge", "Time by which the loop's last look at the clock came late", each("lag")),
        ("oldest_request_seconds", "gauge", "Age of the oldest request under way", each("oldest")),
        ("resident_memory_bytes", "gauge", "Memory of the worker", each("memory")),
        ("thread_requests", "gauge", "Requests that a thread is at", each("threads")),
        ("queued_requests", "gauge", "Requests that wait for a thread", each("queued")),
    ]
    return "".join(family(*parts) for parts in families)


CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


def family(name, kind, text, samples):
    """Return one metric with its samples, [(labels, number)]."""
    name = f"asynchttpd_{name}"
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{{{labels}}} {number}" if labels else f"{name} {number}" for labels, number in samples]
    return "\n".join(lines) + "\n"


# What is served.


def status_handler(base, board):
    """Return a class of channels on *base* (httpd.BaseHTTPRequestHandler) that shows the *board*.

    Its tick() is to be called once a second.
    """

    class StatusHandler(base):
        """Answers GET and HEAD, reads no body, changes nothing."""

        __slots__ = ()

        max_body = 1  # byte: nobody needs one here
        history = collections.deque([0] * HISTORY, HISTORY)  # requests of each second
        looked, counted = time.monotonic(), None  # when we looked last, and the requests until then
        streams = set()  # channels to which each tick is sent

        @classmethod
        def tick(cls):
            """Look at the board, and tell those who watch."""
            now, requests = time.monotonic(), totals(board)["requests"]
            if cls.counted is not None:
                seconds = max(1, round(now - cls.looked))  # more on a busy machine: then we look too late
                cls.history.extend([max(0, requests - cls.counted) // seconds] * seconds)
            cls.looked, cls.counted = now, requests
            if cls.streams:
                event = cls.event()
                for channel in list(cls.streams):
                    channel.send_event(event)

        @classmethod
        def facts(cls):
            return report(board, time.monotonic(), cls.history)

        @classmethod
        def event(cls):
            return f"data: {json.dumps(statuspage.content(cls.facts()))}\n\n".encode()

        def do_GET(self):
            path = self.path.partition("?")[0]
            if path == "/health":
                healthy = is_healthy(board, time.monotonic())
                self.send_text(200 if healthy else 503, "text/plain", "ok\n" if healthy else "no requests, please\n")
            elif path == "/metrics":
                self.send_text(200, "text/plain; version=0.0.4; charset=utf-8", metrics(self.facts()))
            elif path == "/status.json":
                self.send_text(200, "application/json", json.dumps(self.facts()))
            elif path == "/":
                self.send_text(200, "text/html; charset=utf-8", statuspage.page(self.facts()))
            elif path == "/events":
                self.start_stream()
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def send_text(self, status, content_type, text):
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Security-Policy", CONTENT_POLICY)
            self.send_length(len(body))
            self.end_headers()
            self.push(body)

        # The stream of events (https://html.spec.whatwg.org/multipage/server-sent-events.html): an answer without end.

        def start_stream(self):
            if len(self.streams) >= MAX_STREAMS:
                return self.send_error(503)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.push(self.event())
            if not self.bodiless:
                self.streams.add(self)

        def end_response(self):
            if self not in self.streams:
                return super().end_response()
            self.queue_unsent()  # the answer goes on being made: the state stays HANDLING
            self.initiate_send()

        def send_event(self, event):
            """Send one more event, unless the client has not taken the one before."""
            if not self.producer_fifo:
                self.push(event)
                self.queue_unsent()
                self.initiate_send()
                self._map.touch(self._fileno)

        def queue_emptied(self):
            if self in self.streams:
                self.deadline = None  # until the next event
            else:
                super().queue_emptied()

        def closed(self, state):
            self.streams.discard(self)
            super().closed(state)

    return StatusHandler
