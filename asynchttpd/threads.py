"""The threads that run an application, and one request in one of them.

The thread passes its output to the loop, and never touches a socket.

    loop    request complete -> Job            take_piece -> socket           job_done -> next request
    thread                       application -> deliver, wait for room -> ... -> close()

Not here: what the loop does with the output (async_wsgi.py).
"""

import collections
import contextlib
import functools
import logging
import math
import sys
import threading
import time
import traceback

from asynchttpd.answer import ApplicationProducer, guarded, wraps_plain_file

log = logging.getLogger("httpd")


class Pool:
    """The threads of a worker. All are started at once: later a request might find that no more can be started.

    jobs -- each Job that has a thread or waits for one
    queue_limit -- how many jobs may wait
    timeout -- seconds after which the log shows the stack of a busy thread; 0: never
    is_stuck -- has every thread been busy for longer than that, and has every client left? Nothing frees such threads

    Raise RuntimeError if the system cannot start so many.
    """

    def __init__(self, threads, queue_limit, timeout):
        from queue import SimpleQueue

        self.threads, self.queue_limit, self.timeout = threads, queue_limit, timeout
        self.jobs, self.is_stuck = set(), False
        self.started = collections.deque()  # jobs of this turn of the loop
        self.queue = SimpleQueue()
        threading.Thread(target=self.end_with_main_thread, name="end of the pool", daemon=True).start()
        for number in range(1, threads + 1):
            threading.Thread(target=self.work, name=f"application {number}").start()

    def work(self):
        """The life of a thread."""
        while job := self.queue.get():
            job.run()
            del job  # before the next one comes: what only it holds can be freed

    def end_with_main_thread(self):
        """Python waits at its end for all threads: when the main thread has ended, each gets word to end, too."""
        threading.main_thread().join()
        self.end()

    def end(self):
        """End each thread when it has done the jobs that it was given."""
        for _ in range(self.threads):
            self.queue.put(None)

    def is_full(self):
        return self.is_stuck or len(self.jobs) >= self.threads + self.queue_limit

    def start(self, job):
        self.jobs.add(job)
        self.started.append(job)

    def hand_over(self):
        """The loop's turn ends: wake threads. Awake earlier, they would wrest the interpreter (GIL) from the loop."""
        while self.started:
            self.queue.put(self.started.popleft())

    def look(self):
        """Log each job that has been busy for too long, and see whether the pool is stuck; called once a second."""
        busy_before = time.monotonic() - (self.timeout or math.inf)
        busy = [job for job in self.jobs if job.busy_since is not None and job.busy_since < busy_before]
        for job in busy:
            if not job.is_named:
                job.is_named = True
                log.warning("%s: busy for more than %g s:\n%s", job.answer.request, self.timeout, job.stack())
        was_stuck, self.is_stuck = self.is_stuck, len(busy) == self.threads and all(job.is_abandoned() for job in busy)
        if self.is_stuck and not was_stuck:
            stacks = "\n".join(f"{job.answer.request}:\n{job.stack()}" for job in busy)
            log.error("all threads are stuck, and no client waits for their answers:\n%s", stacks)

    def waiting(self):
        """Return the jobs that wait for a thread."""
        return [job for job in self.jobs if job.thread is None and not job.given_up]


class Job:
    """The application at work on one request in a thread.

    given_up -- the answer is not needed any more: the client has left, or got 504
    thread -- the identifier of its thread while that is at work, for stack()
    busy_since -- when the application last sent something, or began; None while it waits for the client
    body -- the answer's body if it is a single piece: then the loop is woken once, for the body and for the end
    file -- a plain file that the application has returned: the loop sends it
    input -- the body of a request that was given up. The thread may still read it, so it is closed when the thread ends
    """

    def __init__(self, handler):
        self.handler, self.answer = handler, handler.answer
        self.environ = handler.get_environ()
        self.application = handler.server.get_app()
        self.call_soon = handler._map.call_soon
        self.no_room = threading.Lock()  # held from one piece's delivery until it has been sent
        self.given_up = self.is_named = False
        self.thread = self.busy_since = self.body = self.file = self.input = None

    def run(self):
        self.thread, self.busy_since, error = threading.get_ident(), time.monotonic(), None
        try:
            if not self.given_up:  # while it waited for a thread
                guarded(self.call_application)
        except GivenUp:
            pass
        except Exception as fault:
            error = fault
        self.thread = self.busy_since = None
        self.answer.ended = True
        if self.given_up:
            self.drop(error)  # in the thread, since the loop may have ended
            error = None
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.job_done, self, error))

    def call_application(self):
        result = self.application(self.environ, self.start_response)
        try:
            if wraps_plain_file(result):
                self.file = result  # for the loop and sendfile()
            else:
                producer = ApplicationProducer(self.answer, result)
                while (piece := producer.more()) != b"":
                    if piece and self.answer.full:
                        self.body = piece  # handed over with the end: close() has no work to do after it
                    elif piece:
                        self.deliver(piece)
                    elif self.given_up:
                        raise GivenUp
        finally:
            if not self.file:
                self.answer.close(result)

    def start_response(self, status, response_headers, exc_info=None):
        """As the handler's start_response(); but when this job was given up, the handler may be at another request."""
        self.answer.start(status, response_headers, exc_info)
        return self.write

    def write(self, data):
        if piece := self.answer.written(data):
            self.deliver(piece)

    def deliver(self, piece):
        """Pass *piece* to the loop as soon as the piece before has been sent. Raise GivenUp."""
        self.busy_since = None
        self.no_room.acquire()
        self.busy_since = time.monotonic()
        if self.given_up:
            self.make_room()  # the application may try again, and is told again
            raise GivenUp
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.take_piece, self, piece))

    # Called in the loop.

    def make_room(self):
        """The piece that was delivered has been sent."""
        with contextlib.suppress(RuntimeError):  # there is room already
            self.no_room.release()

    def give_up(self, body):
        """Stop waiting for the thread and drop what it still sends. It may be reading *body*, the request's."""
        self.input, self.given_up = body, True
        self.make_room()

    def is_abandoned(self):
        return self.given_up or self.handler.client_disconnected()

    def drop(self, error):
        """Clean up after a job that was given up and has ended; its handler does not."""
        if error:
            log.error("%s failed after it was given up", self.answer.request, exc_info=error)
        if self.file:
            self.answer.close(self.file)
            self.file = None

    def stack(self):
        """Return what the thread is doing now, as the text of a stack."""
        frame = sys._current_frames().get(self.thread)
        return "".join(traceback.format_stack(frame)) if frame else "still waiting for a thread"


class GivenUp(Exception):
    """Ends the application in its thread: its output is not needed any more."""
