"""HTTPS: a channel whose bytes are encrypted (TLS 1.2 and 1.3, RFC 5246 and RFC 8446).

OpenSSL never sees the socket. It works between two buffers in memory (ssl.MemoryBIO): what has come goes into one, what
is to be sent comes out of the other. So nothing waits, and a client cannot make us do more in one turn of the loop than
its input in that turn asks for. If OpenSSL read from the socket, it would not come back as long as a client sends
messages that OpenSSL answers alone, such as TLS 1.3's KeyUpdate.

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

from asynchttpd.channel import BODY, CLOSED, IDLE, Channel

log = logging.getLogger("httpd")

HANDSHAKE = b"\x16"  # the first byte of a TLS connection (RFC 8446 §5.1); no method begins with it
RECORD = 16384  # bytes that are encrypted together at most (RFC 8446 §5.1)
RECORDS = 4 * RECORD  # bytes that are encrypted and sent together
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
    password = read_password(password_file) if password_file is not None else None
    try:
        context.load_cert_chain(cert, key, need_password if password is None else password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, and none of them names the file
        files = cert if key is None else f"{cert} and {key}"
        raise Unusable(f"cannot use the certificate in {files}: {reason(error)}") from error
    return context


def read_password(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise Unusable(f"cannot read the password in {path}: {reason(error)}") from error


def need_password():
    """Called for a locked key: OpenSSL would ask at the terminal."""
    raise Unusable("the private key has a password: say --tls-password-file")


def reason(error):
    """Return what *error* says, without the files and numbers of OpenSSL's own source."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not in PEM, or there is no private key"
    return getattr(error, "strerror", None) or error


def encrypted(handler):
    """Return the class *handler*, of channels, with TLS. Set its `tls_context` before it meets a client."""
    return type("TLS" + handler.__name__, (TLSChannel, handler), {"__slots__": ()})


class TLSChannel(Channel):
    """To be mixed in before a class of channels: everything that they send and receive is encrypted.

    A client of a Unix socket is on this machine, and is served without.
    """

    __slots__ = ()

    scheme = "https"
    turn_budget = 256 * 1024  # bytes; fewer, since encrypting them holds up the others
    barren_limit = 64 * 1024  # bytes in a row that hold nothing for us; a handshake takes less

    tls_context = None  # of make_context()
    tls = None  # the connection's ssl.SSLObject, from the first byte until we have said goodbye
    encrypted = b""  # what the socket has not taken yet
    barren = 0  # bytes since the last that held something
    underway = 0  # bytes of the answer in *encrypted*; they count as sent when all of it has left

    def __init__(self, sock, *arguments):
        if sock.family == socket.AF_UNIX:
            self.scheme = "http"
        self.is_new = self.scheme == "https"  # until the first byte
        super().__init__(sock, *arguments)

    # Bytes come in.

    def recv(self, buffer_size):
        was_decrypted = bool(self.early)
        data = super().recv(min(buffer_size, RECORDS))  # OpenSSL keeps buffers as large as they have been
        if not data or was_decrypted:
            return data
        if self.is_new:
            self.begin(data)
        return self.decrypt(data) if self.tls else data

    def begin(self, data):
        """Start TLS if the first bytes are those of a handshake; else tell the client in plain text, and end."""
        self.is_new = False
        if data.startswith(HANDSHAKE):
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = self.tls_context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        else:
            log.debug("%s does not speak TLS", self.client)
            self.stop_counting()
            self.socket.send(PLAIN_TEXT_ANSWER)
            self.linger()

    def decrypt(self, data):
        """Return what *data* holds for us, and send OpenSSL's answer. Raise BlockingIOError if it holds nothing."""
        self.incoming.write(data)
        pieces, has_ended = [], False
        try:
            while piece := self.tls.read(RECORD):
                pieces.append(piece)
                if not self.incoming.pending:
                    break  # to ask once more would cost an exception
            else:
                has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:  # the handshake has failed, or somebody has meddled with the bytes
            log.debug("%s left: %s", self.client, error.reason)
            self.flush()  # an alert
            self.close()
            return b""
        if self.outgoing.pending:
            self.flush()
        if self.state is CLOSED:
            return b""
        if pieces:
            self.barren = 0
            return b"".join(pieces)
        self.barren += len(data)
        if not has_ended and self.barren <= self.barren_limit:
            raise BlockingIOError
        self.handle_close()
        return b""

    def readable(self):
        # A client that makes OpenSSL answer, but does not read, is not listened to any longer.
        return not self.encrypted and super().readable()

    # Bytes go out.

    def writable(self):
        return bool(self.encrypted) or super().writable()

    def handle_write(self):
        if not self.encrypted or self.underway or self.flush():
            super().handle_write()

    def flush(self):
        """Send what has been encrypted; tell whether all of it has left."""
        self.encrypted += self.outgoing.read()
        if self.encrypted:
            count = super().send(self.encrypted)
            self.encrypted = self.encrypted[count:]
            if count and self.encrypted and self.underway and self.state is not BODY:
                self.deadline = time.monotonic() + self.send_timeout
        return not self.encrypted

    def send(self, data):
        """Encrypt *data* and send it; return the number of bytes that have left.

        What has been encrypted, but has not left as a whole, must be given again; initiate_send() does so.
        """
        if self.is_new:
            self.close()  # there is no room for this client, and making a handshake to tell it would need some
            return 0
        if not self.tls:
            return super().send(data)
        view, sent = memoryview(data)[: self.turn_budget], 0
        while sent < len(view):
            if not self.underway:
                self.underway = self.tls.write(view[sent : sent + RECORDS])
            if not self.flush():
                break
            sent, self.underway = sent + self.underway, 0
        return sent

    def send_file(self, producer, count):
        """Read *count* bytes of the producer's file and send them; the kernel, which copies, cannot encrypt."""
        if not self.tls:
            return super().send_file(producer, count)
        sent = 0
        while sent < count:
            piece = producer.read(min(count - sent, RECORDS))
            left = self.send(piece)
            sent += left
            if self.state is CLOSED:
                return sent
            producer.advance(left)
            if left < len(piece):
                break
        return sent

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
        if self.tls:
            tls, self.tls = self.tls, None
            with contextlib.suppress(ssl.SSLError):  # the client has not said so yet, and we do not wait for it
                tls.unwrap()
            with contextlib.suppress(OSError):
                self.socket.send(self.encrypted + self.outgoing.read())
            self.encrypted = b""

    def client_disconnected(self):
        """Tell a WSGI application whether the client has left; a last message, encrypted, may stand before its end."""
        poller = select.poll()
        try:
            poller.register(self.socket, CLIENT_LEFT)
        except (OSError, ValueError):  # closed meanwhile
            return True
        return bool(poller.poll(0))
