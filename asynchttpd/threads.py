"""One request in a thread of the pool. The thread passes its output to the loop, and never touches a socket.

    loop    request complete -> Job            take_piece -> socket           job_done -> next request
    thread                       application -> deliver, wait for room -> ... -> close()

Not here: what the loop does with the output (async_wsgi.py), and the pool, which comes from the standard library.
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

    given_up -- the answer is not needed any more: the client has left, or got 504
    thread -- the identifier of its thread while that is at work, for stack()
    file -- a plain file that the application has returned: the loop sends it
    input -- the body of a request that was given up; the thread may still be reading it, so it is closed at the end
    """

    def __init__(self, handler):
        self.handler, self.answer = handler, handler.answer
        self.environ = handler.get_environ()
        self.application = handler.server.get_app()
        self.call_soon = handler._map.call_soon
        self.has_room = threading.Event()  # may the next piece be passed on?
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
        """The same as the handler's, which may be at another request when this one has been given up."""
        self.answer.start(status, response_headers, exc_info)
        return self.write

    def write(self, data):
        if piece := self.answer.written(data):
            self.deliver(piece)

    def deliver(self, piece):
        """Pass *piece* to the loop as soon as the piece before has been sent."""
        self.has_room.wait()
        if self.given_up:
            raise GivenUp
        self.has_room.clear()
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.take_piece, self, piece))

    def drop(self, error):
        """It was given up and has ended: clean up in the handler's place."""
        if error:
            log.error("%s failed after it was given up", self.answer.request, exc_info=error)
        if self.file:
            self.answer.close(self.file)
        if self.input:
            self.input.close()

    def stack(self):
        """Return the present stack of the thread, as text."""
        frame = sys._current_frames().get(self.thread)
        return "".join(traceback.format_stack(frame)) if frame else "still waiting for a thread"


class GivenUp(Exception):
    """Ends the application in its thread: its output is not needed any more."""
