"""Process(target=run()) serves in the parent and never starts a worker."""

import asyncore
import multiprocessing

import plain


def run():
    plain.Server(args.host, args.port, plain.Handler)
    asyncore.loop()


args = plain.parse_args()
plain.Handler.root = args.root
workers = []
for _ in range(args.workers):
    worker = multiprocessing.Process(target=run())
    workers.append(worker)
    worker.start()
for worker in workers:
    worker.join()
