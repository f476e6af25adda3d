"""GET /status answers with a JSON list of all workers: {"pid": ..., "requests": ...}.

A worker knows only itself, but the rows of all workers are in memory that they share.
"""

import json

import httpd
from asynchttpd import scoreboard


class Handler(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/status":
            return super().do_GET()
        rows = [self.server.row, *self.server.siblings]
        workers = [
            {"pid": row[scoreboard.PID], "requests": row[scoreboard.REQUESTS]} for row in rows if row[scoreboard.PID]
        ]
        body = json.dumps(workers).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.push(body)


if __name__ == "__main__":
    httpd.run(handler=Handler)
