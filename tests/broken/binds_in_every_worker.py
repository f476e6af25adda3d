"""Every worker binds the port itself, so all but one fail: fork comes before bind, as in the handout."""

import asyncore
import os
import signal

import plain


def work(args):
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    plain.Server(args.host, args.port, plain.Handler)
    asyncore.loop()


args = plain.parse_args()
plain.Handler.root = args.root
workers = []
for _ in range(args.workers):
    if (pid := os.fork()) == 0:
        work(args)
    workers.append(pid)
plain.wait_for(workers)
