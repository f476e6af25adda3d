"""HTTPS, with the clients that people have: curl, openssl, Python's ssl, a browser."""

import contextlib
import hashlib
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest
from conftest import PATIENCE, ROOT, Client, python_command, running_servers, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="the certificates are made with openssl")

HTTPD, WSGI = "httpd.py", "async_wsgi.py"
HEADER_TIMEOUT = 2  # seconds
LARGE = bytes(range(256)) * 40_000  # 10 MB
REQUEST = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
APPLICATION = """
import hashlib, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["REQUEST_METHOD"] == "POST":
        return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    if environ["PATH_INFO"] == "/one-piece":
        return [bytes(range(256)) * 40_000]
    if environ["PATH_INFO"] == "/pieces":
        return (bytes(range(256)) * 1000 for _ in range(40))
    if environ["PATH_INFO"] == "/fails":
        return broken()
    if environ["PATH_INFO"] == "/until-left":
        return until_left(environ["asynchttpd.client_disconnected"])
    return [environ["wsgi.url_scheme"].encode(), b" ", environ["PATH_INFO"].encode()]

def broken():
    yield b"begun"
    raise ValueError("the rest is missing")

def until_left(is_gone):
    yield b"here"
    while not is_gone():
        time.sleep(0.01)
    print("the client has left")
"""


def make_certificate(folder, name, *options):
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key]
    command += ["-out", cert, "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *(options or ["-nodes"])], check=True, capture_output=True, timeout=PATIENCE)
    return cert, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files of a certificate for 127.0.0.1 and of its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "first")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an application and a large file."""
    path = tmp_path_factory.mktemp("site")
    (path / "tls_app.py").write_text(APPLICATION)
    (path / "large.bin").write_bytes(LARGE)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory, certificate, folder):
    """A server with TLS that most tests of this file share."""
    cert, key = certificate
    options = ["tls_app:application", "--static", f"/files={folder}", "--header-timeout", HEADER_TIMEOUT]
    options += ["--host", "127.0.0.1", "--port", 0, "--threads", 2, "--unix", folder / "socket"]
    with running_servers(tmp_path_factory.mktemp("server")) as run:
        yield run(python_command(WSGI, *options, "--tls-cert", cert, "--tls-key", key), cwd=folder).wait_started()


@pytest.fixture
def secure(connect, certificate):
    """Return a function: secure(server) opens a connection with TLS that trusts the certificate."""
    clients = []

    def secure(server, cert=None, **options):
        context = ssl.create_default_context(cafile=cert or certificate[0])
        context.set_alpn_protocols(["h2", "http/1.1"])
        raw = connect(server, **options).sock
        clients.append(Client(context.wrap_socket(raw, server_hostname=server.host)))
        return clients[-1]

    yield secure
    for client in clients:
        client.close()


def url(server, path="/"):
    return f"https://127.0.0.1:{server.port}{path}"


def curl(certificate, *arguments):
    command = ["curl", "-sS", "--max-time", "15", "--cacert", certificate[0], *arguments]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE)


# Ordinary clients.


def test_first_line_of_the_log_says_https(server):
    assert f" Serving HTTP on https://127.0.0.1:{server.port}/, unix:" in server.log_path.read_text()


def test_curl_gets_and_posts(server, certificate, folder):
    answer = curl(certificate, "-w", " %{http_version} %{ssl_verify_result}", url(server, "/a"), url(server, "/b"))
    assert answer.stdout == b"https /a 1.1 0https /b 1.1 0"
    answer = curl(certificate, "--data-binary", f"@{folder / 'large.bin'}", url(server))
    assert answer.stdout.decode() == hashlib.sha256(LARGE).hexdigest()


@pytest.mark.parametrize("path", ["/files/large.bin", "/one-piece", "/pieces"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_large_download_comes_whole(server, certificate, path, version):
    answer = curl(certificate, f"--tlsv{version}", "--tls-max", version, url(server, path))
    assert (answer.returncode, answer.stdout == LARGE) == (0, True), answer.stderr


def test_part_of_a_file_ends_where_it_should(server, secure):
    client = secure(server)
    assert client.get("/files/large.bin", "Range: bytes=100-200099").body == LARGE[100:200_100]
    assert client.get("/next").body == b"https /next"


def test_slow_reader_of_one_large_piece_gets_it_whole(server, secure):
    client = secure(server, receive_buffer=4096)  # far less than the answer, so the server has to wait again and again
    client.send(REQUEST % b"/one-piece")
    assert client.read_answer().body == LARGE


@pytest.mark.slow
def test_reader_that_takes_seconds_for_what_is_encrypted_at_once_is_not_cut_off(start, secure, certificate, tmp_path):
    script = tmp_path / "small.py"
    script.write_text(
        f"import socket, sys; sys.path.insert(0, {str(ROOT)!r}); import httpd\n"
        "class Handler(httpd.AsyncHTTPRequestHandler):\n"
        "    send_timeout = 1.0\n"
        "    def __init__(self, sock, *arguments):\n"
        "        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)\n"
        "        super().__init__(sock, *arguments)\n"
        "httpd.run(handler=Handler)\n"
    )
    (tmp_path / "page.bin").write_bytes(LARGE[:200_000])
    cert, key = certificate
    server = start(script, "-r", tmp_path, "--tls-cert", cert, "--tls-key", key)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(PATIENCE)
        raw.connect((server.host, server.port))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=cert)
        tls = context.wrap_bio(incoming, outgoing, server_hostname=server.host)
        received, pace = b"", 0
        while len(received) < 100_000:
            try:
                received += tls.read(65536)
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                time.sleep(pace)
                piece = raw.recv(4096)
                assert piece, "cut off"
                incoming.write(piece)
                if tls.version() and not pace:
                    tls.write(REQUEST % b"/page.bin")
                    pace = 0.15  # seconds: the server encrypts 64 KiB at once, and this takes them in 2.4
    assert LARGE[:1000] in received


def test_kept_connection_and_pipelined_requests(server, secure):
    client = secure(server)
    assert client.sock.selected_alpn_protocol() == "http/1.1"
    assert client.get("/1").body == b"https /1"
    client.send(b"".join(REQUEST % path for path in (b"/2", b"/3", b"/4")))
    assert [client.read_answer().body for _ in range(3)] == [b"https /2", b"https /3", b"https /4"]


def test_server_that_is_full_hangs_up_and_goes_on(start, connect, secure, certificate, tmp_path):
    script = tmp_path / "full.py"
    script.write_text(
        f"import resource, sys; sys.path.insert(0, {str(ROOT)!r}); import httpd\n"
        "httpd.AsyncServer.descriptor_share = 2 / resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # port and client\n"
        "httpd.run()\n"
    )
    cert, key = certificate
    server = start(script, "-r", ROOT / "www", "--tls-cert", cert, "--tls-key", key)
    busy = secure(server)
    busy.send(b"GET / HTTP/1.1\r\n")
    other = connect(server)
    other.send(hello_of_a_client())
    with contextlib.suppress(ConnectionResetError):
        assert other.read_rest() == b""
    busy.send(b"Host: a\r\nConnection: close\r\n\r\n")
    assert busy.read_answer().status == 200


def test_reads_smaller_than_a_record_forget_nothing(start, secure, certificate, tmp_path):
    script = tmp_path / "small.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import httpd\n"
        "httpd.AsyncHTTPRequestHandler.ac_in_buffer_size = 20\nhttpd.run()\n"
    )
    cert, key = certificate
    client = secure(start(script, "-r", ROOT / "www", "--tls-cert", cert, "--tls-key", key))
    client.send(REQUEST % b"/" * 50)
    assert [client.read_answer().status for _ in range(50)] == [200] * 50


def test_connection_that_the_client_wants_closed_ends_as_tls_does(server, secure):
    client = secure(server)
    client.sock.suppress_ragged_eofs = False  # an end without close_notify is an error now
    assert client.get("/", "Connection: close").body == b"https /"
    assert client.read_rest() == b""


def test_answer_that_is_cut_off_does_not_end_as_tls_does(start, secure, certificate, folder):
    cert, key = certificate
    server = start(WSGI, "tls_app:application", "--tls-cert", cert, "--tls-key", key, cwd=folder)
    server.may_complain = True
    client = secure(server)
    client.sock.suppress_ragged_eofs = False
    client.send(b"GET /fails HTTP/1.0\r\n\r\n")
    with pytest.raises(OSError, match=r"EOF occurred|reset"):
        client.read_answer()


def test_half_closed_client_gets_its_answer(server, secure):
    client = secure(server)
    client.send(REQUEST % b"/pieces")
    socket.socket.shutdown(client.sock, socket.SHUT_WR)  # SSLSocket's own would forget the keys
    assert client.read_answer().body == LARGE


def test_client_that_has_said_goodbye_gets_its_answer(server, certificate, connect):
    raw = connect(server).sock
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=certificate[0]).wrap_bio(incoming, outgoing, server_hostname=server.host)

    def move(function, *arguments):
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))

    move(tls.do_handshake)
    tls.write(b"GET /files/large.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()  # close_notify, in the same segment as the request
    raw.sendall(outgoing.read())
    raw.shutdown(socket.SHUT_WR)
    while piece := raw.recv(65536):
        incoming.write(piece)
    incoming.write_eof()
    received = b""
    try:
        while piece := tls.read(65536):
            received += piece
    except ssl.SSLZeroReturnError:  # the server's close_notify
        pass
    assert received.endswith(LARGE)


def test_application_is_told_that_the_client_has_left(server, secure):
    client = secure(server)
    client.send(REQUEST % b"/until-left")
    assert b"200 OK" in client.reader.readline()
    client.close()
    wait_until(lambda: "the client has left" in server.log_path.read_text(), "the end of the application's wait")


def test_client_of_the_unix_socket_is_served_without(server, folder):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(folder / "socket"))
        client = Client(sock)
        assert client.get("/x").body == b"http /x"
        assert client.get("/files/large.bin").body == LARGE
        client.close()


# Clients that speak something else, or are slow.


def test_plain_http_is_told_that_this_is_https(server, connect, secure):
    client = connect(server)
    answer = client.get()
    assert (answer.status, answer.fields["connection"]) == (400, "close")
    assert b"https://" in answer.body
    assert client.read_rest() == b""
    assert secure(server).get("/after").body == b"https /after"


NONSENSE = [b"\x16\x03\x01\x00\x05hello", b"\x16" * 2000, b"\x80\x2e\x01\x00\x02", b"\0\0\r\n\r\n"]


@pytest.mark.parametrize("hello", NONSENSE)
def test_nonsense_ends_the_connection_and_nothing_else(server, connect, secure, hello):
    client = connect(server)
    client.send(hello)
    with contextlib.suppress(OSError):  # it may have been reset already
        client.sock.shutdown(socket.SHUT_WR)
        client.read_rest()
    assert secure(server).get("/after").body == b"https /after"


def s_client(server, *options):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", *options]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)


def test_old_version_is_refused(server, secure):
    workers = server.workers()
    answer = s_client(server, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "protocol version" in answer.stderr
    assert answer.returncode != 0
    assert secure(server).get("/after").body == b"https /after"
    assert server.workers() == workers


def test_renegotiation_is_refused(server):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2"]
    answer = subprocess.run(command, input="R\n", capture_output=True, text=True, timeout=PATIENCE)
    assert "no renegotiation" in answer.stderr


def test_key_update_is_answered(server, certificate):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_3", "-CAfile", certificate[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        client.stdin.write(b"K\n")  # with what it sends next: new keys, and it asks the server for new ones, too
        client.stdin.flush()
        output = b""
        while b"KEYUPDATE" not in output:  # what stands behind K in its buffer it would not send
            output += client.stdout.read1()
        client.stdin.write(b"GET /new-keys HTTP/1.0\n\n".replace(b"\n", b"\r\n"))
        client.stdin.flush()
        while b"https /new-keys" not in output and (piece := client.stdout.read1()):
            output += piece
        client.stdin.close()
    assert b"https /new-keys" in output


def test_client_that_sends_much_that_holds_nothing_is_cut_off(server, connect, secure):
    # A ClientHello of 131,000 bytes, which OpenSSL would wait for. TLS 1.3's KeyUpdate again and again is the same.
    hello = b"\x01" + (131_000).to_bytes(3, "big") + bytes(100_000)
    records = [hello[start : start + 16384] for start in range(0, len(hello), 16384)]
    client, began = connect(server), time.monotonic()
    with contextlib.suppress(OSError):
        client.send(b"".join(b"\x16\x03\x01" + len(record).to_bytes(2, "big") + record for record in records))
        assert client.read_rest() == b""
    assert time.monotonic() < began + HEADER_TIMEOUT
    assert secure(server).get("/after").body == b"https /after"


def hello_of_a_client():
    """Return the first message of a handshake."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_slow_handshakes_are_cut_by_the_deadline_and_disturb_nobody(server, connect, secure):
    began = time.monotonic()
    hello = hello_of_a_client()
    silent, halfway, dripping = (connect(server) for _ in range(3))
    halfway.send(hello)
    others, ended, sent = secure(server), set(), 0
    while len(ended) < 3:
        assert time.monotonic() < began + PATIENCE
        asked = time.monotonic()
        assert others.get("/neighbour").body == b"https /neighbour"
        assert time.monotonic() < asked + 1
        for client in {silent, halfway, dripping} - ended:
            if select.select([client.sock], [], [], 0.05)[0]:
                try:
                    if not client.sock.recv(65536):
                        ended.add(client)
                except ConnectionResetError:
                    ended.add(client)
        if dripping not in ended:
            try:
                dripping.send(hello[sent : sent + 1])
            except OSError:
                ended.add(dripping)
            sent += 1
    assert time.monotonic() >= began + HEADER_TIMEOUT


def test_handshake_in_single_bytes_succeeds(server, connect, certificate):
    raw = connect(server).sock
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=certificate[0]).wrap_bio(incoming, outgoing, server_hostname=server.host)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                raw.sendall(bytes([byte]))
            incoming.write(raw.recv(65536))
    tls.write(REQUEST % b"/bytes")
    for byte in outgoing.read():
        raw.sendall(bytes([byte]))
    received = b""
    while b"/bytes" not in received:  # "https" stands in another chunk
        try:
            received += tls.read(65536)
        except ssl.SSLWantReadError:
            piece = raw.recv(65536)
            assert piece, "the server has left"
            incoming.write(piece)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs a browser")
def test_browser_shows_a_page(server, tmp_path):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--ignore-certificate-errors", "--dump-dom", url(server, "/page")]
    environ = {**os.environ, "HOME": str(tmp_path)}
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    assert "https /page" in shown.stdout


# Certificates.


def common_name(server, secure, cert):
    with_name = secure(server, cert).sock.getpeercert()["subject"]
    return dict(pair for group in with_name for pair in group)["commonName"]


def test_hup_loads_a_renewed_certificate_and_keeps_the_old_one_if_it_is_bad(start, secure, certificate, tmp_path):
    cert, key = shutil.copy(certificate[0], tmp_path / "cert"), shutil.copy(certificate[1], tmp_path / "key")
    server = start(HTTPD, "-r", "www", "--tls-cert", cert, "--tls-key", key)
    assert common_name(server, secure, cert) == "first"
    (old,) = server.workers()
    renewed, renewed_key = make_certificate(tmp_path, "second")
    shutil.copy(renewed, cert)
    server.signal(signal.SIGHUP)  # the key is still that of the old certificate
    wait_until(lambda: "cannot use the certificate" in server.log_path.read_text(), "complaint")
    assert common_name(server, secure, certificate[0]) == "first"
    shutil.copy(renewed_key, key)
    server.signal(signal.SIGHUP)
    wait_until(lambda: old not in server.workers(), "end of the old worker")
    assert common_name(server, secure, renewed) == "second"


def test_certificate_and_key_with_a_password_in_one_file(start, secure, tmp_path):
    cert, key = make_certificate(tmp_path, "locked", "-passout", "pass:sesame")
    (tmp_path / "both").write_bytes(cert.read_bytes() + key.read_bytes())
    (tmp_path / "password").write_text("sesame\n")
    options = ["--tls-cert", tmp_path / "both", "--tls-password-file", tmp_path / "password"]
    assert secure(start(HTTPD, "-r", "www", *options), cert).get().status == 200


def refusal(script, *options):
    """Return the exit status and the lines of a server that does not start."""
    command = python_command(script, "--port", 0, *options)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    return ended.returncode, ended.stderr.splitlines()


PASSWORDS = {"no password": None, "wrong password": "open", "long password": "x" * 2000}


@pytest.mark.parametrize("fault", ["no file", "no certificate", "other key", "locked", *PASSWORDS])
def test_bad_certificate_is_one_line(certificate, tmp_path, fault):
    cert, key = certificate
    password = tmp_path / "password"
    options = []
    if fault == "no file":
        cert = tmp_path / "missing.pem"
    elif fault == "no certificate":
        cert = ROOT / "README.md"
    elif fault == "other key":
        _, key = make_certificate(tmp_path, "other")
    else:
        cert, key = make_certificate(tmp_path, "locked", "-passout", "pass:sesame")
        if PASSWORDS.get(fault):
            password.write_text(PASSWORDS[fault] + "\n")
        if fault != "locked":
            options = ["--tls-password-file", password]
    check = ["--check"] if fault == "other key" else []
    status, lines = refusal(HTTPD, "-r", "www", "--tls-cert", cert, "--tls-key", key, *options, *check)
    assert (status, len(lines)) == (1, 1), lines
    assert str(password if fault == "no password" else cert) in lines[0] or "--tls-password-file" in lines[0]


def test_files_that_are_named_are_needed_and_the_log_says_so_too(certificate, tmp_path):
    cert, key = certificate
    log = tmp_path / "log"
    status, lines = refusal(HTTPD, "--tls-cert", tmp_path / "nothing", "--logfile", log)
    assert (status, len(lines)) == (1, 1)
    assert lines[0].partition(": ")[2] in log.read_text()
    status, lines = refusal(HTTPD, "--tls-cert", cert, "--tls-key", key, "--tls-password-file", tmp_path / "missing")
    assert (status, len(lines)) == (1, 1)
    assert "missing" in lines[0]


@pytest.mark.parametrize("command", [[HTTPD, "--tls-key"], [WSGI, "my_app:application", "--tls-password-file"]])
def test_key_without_a_certificate_is_wrong_usage(command):
    status, lines = refusal(*command, "file")
    assert (status, len(lines)) == (2, 1)
    assert "--tls-cert" in lines[0]


def test_ssl_is_loaded_only_for_tls():
    code = "import sys, httpd, async_wsgi; print('ssl' in sys.modules)"
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "False\n"
