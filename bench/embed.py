"""Start the peers that have no command line, or one that lacks what we need: python embed.py NAME PORT WORKERS [ROOT].

Their access logs are off, as with all peers; cheroot takes its number of threads in place of workers.
"""

import os
import socket
import sys


def fork(workers):
    """Return in each of *workers* children; the parent waits for them and leaves."""
    if workers > 1:
        for _ in range(workers):
            if os.fork() == 0:
                return
        for _ in range(workers):
            os.wait()
        sys.exit()


def tornado_application(handlers, port, workers):
    import asyncio

    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    sockets = bind_sockets(port, "127.0.0.1", backlog=1024)
    fork(workers)

    async def main():
        HTTPServer(handlers).add_sockets(sockets)
        await asyncio.Event().wait()

    asyncio.run(main())


def tornado_wsgi(port, workers):
    from apps import application
    from tornado.wsgi import WSGIContainer

    tornado_application(WSGIContainer(application), port, workers)


def tornado_files(port, workers, root):
    from tornado.web import Application, StaticFileHandler

    handlers = [(r"/(.*)", StaticFileHandler, {"path": root})]
    tornado_application(Application(handlers, log_function=lambda handler: None), port, workers)


def twisted_site(make_resource, port):
    from twisted.internet import reactor
    from twisted.web.server import Site

    reactor.listenTCP(port, Site(make_resource(reactor)), backlog=1024, interface="127.0.0.1")
    reactor.run()


def twisted_wsgi(port, workers):
    from apps import application
    from twisted.web.wsgi import WSGIResource

    twisted_site(lambda reactor: WSGIResource(reactor, reactor.getThreadPool(), application), port)


def twisted_files(port, workers, root):
    from twisted.web.static import File

    twisted_site(lambda reactor: File(root), port)


def aiohttp_files(port, workers, root):
    from aiohttp import web

    application = web.Application()
    application.router.add_static("/", root)
    web.run_app(application, host="127.0.0.1", port=port, backlog=1024, access_log=None, print=None)


def cheroot_wsgi(port, threads):
    from apps import application
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", port), application, numthreads=threads, request_queue_size=1024, timeout=60)
    server.keep_alive_conn_limit = 20000
    server.start()


def bjoern_wsgi(port, workers):
    import bjoern
    from apps import application

    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    fork(workers)
    bjoern.server_run(listener, application)


def broken_wsgi(port, workers):
    """Answer 500 to every tenth request: the benchmark must not print a figure for it."""
    from itertools import count
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    from apps import application

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            pass

    requests = count(1)

    def sometimes(environ, start_response):
        if next(requests) % 10:
            return application(environ, start_response)
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"broken on purpose\n"]

    make_server("127.0.0.1", port, sometimes, handler_class=Quiet).serve_forever()


if __name__ == "__main__":
    name, port, workers, *root = sys.argv[1:]
    globals()[name](int(port), int(workers), *root)
