"""HTTPS: a channel whose bytes are encrypted (TLS 1.2 and 1.3, RFC 5246 and RFC 8446).

OpenSSL reads and writes the socket itself, and it may have to write before it can read: that is what a handshake is. It
never waits, either. Instead it raises what it waits for, and here that becomes what the loop understands:
  SSLWantReadError   -- as if the socket had nothing (BlockingIOError)
  SSLWantWriteError  -- as if the socket was full; while reading, the channel also becomes writable, and reads again

The first recv() makes the handshake on its way. So to the channel it is a client that has not sent anything yet, and
the deadline for the first request holds for both together.

This module, and with it OpenSSL, is imported only for --tls-cert.

Not here: HTTP. Which connections are made, and when they end, is as without TLS (channel.py).
"""

import contextlib
import logging
import select
import socket
import ssl
import time

from asynchttpd.channel import IDLE, Channel

log = logging.getLogger("httpd")

HANDSHAKE = b"\x16"  # the first byte of a TLS connection (RFC 8446 §5.1); no method begins with it
RECORD = 16384  # bytes that are encrypted together at most
CLIENT_LEFT = getattr(select, "POLLRDHUP", select.POLLHUP)  # the former only on Linux: its side is shut
PLAIN_TEXT = b"400 Bad Request: this port speaks HTTPS; begin the address with https://\n"
PLAIN_TEXT_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    % (len(PLAIN_TEXT), PLAIN_TEXT)
)


class Unusable(Exception):
    """Files that make no certificate; its text says why, in one line."""


def make_context(cert, key=None, password_file=None):
    """Return an ssl.SSLContext for a server; raise Unusable.

    cert -- file of the certificate and those between it and the root, in PEM
    key -- file of the private key; None: it is in *cert*
    password_file -- file with the key's password on its first line; None: it has none
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that sending never has to wait for input
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, lambda: read_password(password_file))
    except OSError as error:  # ssl.SSLError is one, too, and neither names the file
        reason = getattr(error, "reason", None) or error.strerror
        files = f"{cert} and {key}" if key else cert
        raise Unusable(f"cannot use the certificate in {files}: {reason}") from error
    return context


def read_password(path):
    """Return the password in the file at *path*; without this function OpenSSL would ask at the terminal."""
    if path is None:
        raise Unusable("the private key has a password: say --tls-password-file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise Unusable(f"cannot read the password in {path}: {error}") from error


def encrypted(handler):
    """Return the class *handler*, of channels, with TLS. Set its `tls_context` before it meets a client."""
    return type("TLS" + handler.__name__, (TLSChannel, handler), {"__slots__": ()})


class TLSChannel(Channel):
    """To be mixed in before a class of channels: everything that they send and receive is encrypted.

    A client of a Unix socket is on this machine, and is served without.
    """

    __slots__ = ()

    scheme = "https"
    tls_context = None  # of make_context()
    is_blocked = False  # OpenSSL must write before it can go on reading

    def __init__(self, sock, *arguments):
        if sock.family == socket.AF_UNIX:
            self.scheme = "http"
        self.is_new = self.scheme == "https"  # nothing has come, and the socket is not wrapped yet
        super().__init__(sock, *arguments)

    # Bytes come in.

    def recv(self, buffer_size):
        if self.is_new and not self.began_well():
            return b""
        try:
            data = super().recv(buffer_size)
            if isinstance(self.socket, ssl.SSLSocket):
                # What is decrypted already is in no queue that the loop could see.
                while decrypted := self.socket.pending():
                    data += self.socket.recv(decrypted)
                self.input_left = True  # there may be another record
            return data
        except ssl.SSLWantReadError as error:
            raise BlockingIOError from error
        except ssl.SSLWantWriteError as error:
            self.is_blocked = True
            raise BlockingIOError from error
        except ssl.SSLError as error:  # the handshake failed, or somebody has meddled with the bytes
            log.debug("%s left: %s", self.client, error.reason)
            self.close()
            return b""

    def began_well(self):
        """Look at the first byte, and wrap the socket if it is that of a handshake; else tell the client, and end."""
        first = self.socket.recv(1, socket.MSG_PEEK)
        if not first:
            return True  # the client has left without a word, which recv() notices
        self.is_new = False
        if first == HANDSHAKE:
            self.socket = self.tls_context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            return True
        log.debug("%s does not speak TLS", self.client)
        self.stop_counting()
        self.socket.send(PLAIN_TEXT_ANSWER)
        self.linger()
        return False

    def readable(self):
        return not self.is_blocked and super().readable()

    # Bytes go out.

    def writable(self):
        return self.is_blocked or super().writable()

    def handle_write(self):
        was_blocked, self.is_blocked = self.is_blocked, False
        super().handle_write()
        if was_blocked and self.readable():
            self.handle_read()

    def send(self, data):
        """Send *data* record by record; return the number of bytes.

        Of a longer piece OpenSSL tells nothing until it has left as a whole, and a slow client would seem to stand
        still. A record that has not left must be given again as it was, which initiate_send() does.
        """
        if self.is_new:
            self.close()  # there is no room for this client, and making a handshake to tell it would need some
            return 0
        view, sent = memoryview(data)[: self.turn_budget], 0
        while sent < len(view):
            try:
                count = super().send(view[sent : sent + RECORD])
            except ssl.SSLWantWriteError:
                break
            except ssl.SSLError:
                self.handle_close()
                break
            sent += count
            if count == 0:  # the socket of a Unix client is full, or this client has left
                break
        return sent

    def send_file(self, producer, count):
        """Leave it to the next turn to read the file: what the kernel copies cannot be encrypted."""
        producer.by_sendfile = False
        return 0

    # Time passes.

    def handle_timeout(self):
        if self.state is IDLE and self.has_input():  # what has come may be no more than a part of a handshake
            self.handle_read()
            if self.state is not IDLE or self.deadline > time.monotonic():
                return
            self.close()
        else:
            super().handle_timeout()

    # It ends.

    def linger(self):
        self.say_goodbye()
        super().linger()

    def close(self):
        if self.state is IDLE:  # nothing else: an answer that is cut off must not look complete
            self.say_goodbye()
        super().close()

    def say_goodbye(self):
        """Tell the client that nothing more will come (close_notify), if the socket takes it at once."""
        if isinstance(self.socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # ValueError: TLS has ended already
                self.socket.unwrap()

    def client_disconnected(self):
        """Tell a WSGI application whether the client has left; a last message, encrypted, may stand before its end."""
        poller = select.poll()
        try:
            poller.register(self.socket, CLIENT_LEFT)
        except (OSError, ValueError):  # closed meanwhile
            return True
        return bool(poller.poll(0))
