"""GET /hash/N answers with PBKDF2-SHA256 of "password" (salt "salt", N rounds) in hexadecimal; no other client waits.

The loop must not compute for long. A thread computes (hashlib lets other threads run meanwhile), and passes its result
on with call_soon(), which is all that a thread may call in the loop.
"""

import functools
import hashlib
import threading

import httpd


class Hasher(httpd.AsyncHTTPRequestHandler):
    def respond(self):
        rounds = self.path.removeprefix("/hash/")
        if not rounds.isdigit():
            return super().respond()
        self.state, self.deadline = httpd.HANDLING, None
        threading.Thread(target=self.compute, args=[int(rounds)], daemon=True).start()

    def compute(self, rounds):
        digest = hashlib.pbkdf2_hmac("sha256", b"password", b"salt", max(1, rounds)).hex()
        self._map.call_soon(functools.partial(self.computed, digest))

    def computed(self, digest):
        if self.state is httpd.CLOSED:  # the client has not waited
            return
        self.digest = digest
        fd = self.socket.fileno()
        super().respond()
        if fd in self._map:
            self._map.touch(fd)  # this was no event of its own: have the loop ask again what it wants

    def do_GET(self):
        if not self.path.startswith("/hash/"):
            return super().do_GET()
        body = f"{self.digest}\n".encode("ascii")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.push(body)


if __name__ == "__main__":
    httpd.run(handler=Hasher)
