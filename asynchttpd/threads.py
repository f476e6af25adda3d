"""One request in the hands of a thread of the pool. It hands what it makes to the loop, and never touches a socket.

    loop    request complete -> Job            take_piece -> socket           job_done -> next request
    thread                       application -> deliver, wait for room -> ... -> close()

Not here: what the loop does with it (async_wsgi.py), and the pool itself, which is the standard library's.
"""

import functools
import logging
import sys
import threading
import traceback

from asynchttpd.answer import guarded, wraps_plain_file

log = logging.getLogger("httpd")


class Job:
    """The application at work on one request in a thread.

    given_up -- nobody wants the answer any more: the client has left, or was told 504
    thread -- the number of its thread while that is at work, for stack()
    file -- a plain file that the application returned: the loop sends it
    input -- the body of a request given up, which the thread may still be reading; closed when it ends
    """

    def __init__(self, handler):
        self.handler, self.answer = handler, handler.answer
        self.environ = handler.get_environ()
        self.application = handler.server.get_app()
        self.call_soon = handler._map.call_soon
        self.has_room = threading.Event()  # may the next piece be handed over?
        self.has_room.set()
        self.given_up = False
        self.thread = self.file = self.input = None

    def run(self):
        self.thread, error = threading.get_ident(), None
        try:
            if not self.given_up:  # while it waited for a thread
                guarded(self.call_application)
        except GivenUp:
            pass
        except Exception as fault:
            error = fault
        self.thread = None
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.job_done, self, error))

    def call_application(self):
        result = self.application(self.environ, self.start_response)
        try:
            if wraps_plain_file(result):
                self.file = result  # for the loop and sendfile()
            else:
                for piece in self.answer.pieces(result):
                    self.deliver(piece)
        finally:
            if not self.file:
                self.answer.close(result)

    def start_response(self, status, response_headers, exc_info=None):
        """As the handler's, which may be at another request when this one was given up."""
        self.answer.start(status, response_headers, exc_info)
        return self.write

    def write(self, data):
        if piece := self.answer.written(data):
            self.deliver(piece)

    def deliver(self, piece):
        """Hand *piece* to the loop, when it has sent the one before."""
        self.has_room.wait()
        if self.given_up:
            raise GivenUp
        self.has_room.clear()
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.take_piece, self, piece))

    def drop(self, error):
        """It was given up and has ended: clean up what the handler would have."""
        if error:
            log.error("%s: failed after it was given up", self.answer.request, exc_info=error)
        if self.file:
            self.answer.close(self.file)
        if self.input:
            self.input.close()

    def stack(self):
        """Return where the thread is at this moment, as text."""
        frame = sys._current_frames().get(self.thread)
        return "".join(traceback.format_stack(frame)) if frame else "still waiting for a thread"


class GivenUp(Exception):
    """Ends the application in its thread: nobody wants what it makes."""
