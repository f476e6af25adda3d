"""Every worker binds the port itself, so all but one fail: fork comes before bind, as in the handout."""

import multiprocessing
import signal
import sys

import httpd


def work(args):
    httpd.AsyncServer(args.host, args.port).serve_forever()


args = httpd.parse_args()
httpd.AsyncHTTPRequestHandler.root = args.root
workers = [
    multiprocessing.get_context("fork").Process(target=work, args=[args], daemon=True) for _ in range(args.workers)
]
for worker in workers:
    worker.start()
signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which ends daemons
for worker in workers:
    worker.join()
