"""The servers side by side: how to install each, and how to start it.

Every server runs in the foreground, on 127.0.0.1, without an access log unless its name says so, with its
limits on connections and keep-alive raised where its defaults would end the case rather than measure it.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
CHECKOUT = BENCH.parent
VENVS = BENCH / ".venv"  # one for each interpreter

# What pip installs for every run; pyasyncore and pyasynchat are ours, where the standard library lacks them.
PIP = ["matplotlib", "pyasyncore; python_version >= '3.12'", "pyasynchat; python_version >= '3.12'"]
PEERS = ["waitress", "gunicorn", "gevent", "cheroot", "tornado", "twisted", "aiohttp"]
PEERS += ["bjoern", "uwsgi", "granian"]  # built here, or a wheel
APT = {"nginx": "nginx-light", "lighttpd": "lighttpd", "wrk": "wrk", "ab": "apache2-utils"}
LIBEV = "/usr/include/ev.h"  # bjoern is built against it
LEFT_OUT = {"darkhttpd": "not in Debian's packages"}

PYTHON, C, OURS, FLOOR = "Python", "C, Rust", "ours", "floor"


@dataclass(frozen=True)
class Start:
    """What a command line needs to know: threads 0 means the server's own default."""

    port: int
    workers: int
    threads: int
    root: Path
    scratch: Path
    tls: bool = False  # with the certificate that make_certificate() has put into *scratch*

    def tls_options(self, cert, key):
        """Return the options of a command line that call the certificate *cert* and its key *key*."""
        return [cert, self.scratch / "cert.pem", key, self.scratch / "key.pem"] if self.tls else []


@dataclass(frozen=True)
class Server:
    """One way to start one server; *needs* is a module, a program or a file that has to be there."""

    name: str
    kind: str  # "wsgi" or "files"
    family: str  # PYTHON, C, OURS or FLOOR
    needs: str
    command: Callable[[Start], list]
    workers: bool = False  # can share one socket between processes
    threads: bool = False  # can run a blocking application in threads
    tls: bool = False  # speaks HTTPS, too
    tag: str = ""  # takes part only in cases with this tag, where it is not empty
    prefix: str = ""  # where the document root is mounted


def program(name):
    """Return the path of a program in our virtual environment or, as nginx is, elsewhere."""
    return shutil.which(name, path=f"{sys.prefix}/bin:{os.environ['PATH']}:/usr/sbin")


def make_certificate(folder):
    """Put a certificate for localhost that nobody vouches for into *folder*."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


def ours(script, *log):
    def command(start):
        threads = ["--threads", str(start.threads)] if start.threads else []
        what = ["apps:application"] if script == "async_wsgi.py" else ["-r", start.root]
        return [
            sys.executable, CHECKOUT / script, *what, "-w", start.workers, "--port", start.port, *threads,
            *(argument.format(scratch=start.scratch) for argument in log),
            *start.tls_options("--tls-cert", "--tls-key"),
        ]  # fmt: skip

    return command


QUIET = ("--log", "warning")
LOGGING = ("--log", "info", "--logfile", "{scratch}/access.log")


def embedded(name):
    def command(start):
        root = [start.root] if name.endswith("_files") else []
        return [sys.executable, BENCH / "embed.py", name, start.port, start.workers, *root]

    return command


def gunicorn(worker_class):
    def command(start):
        return [
            program("gunicorn"), "-k", worker_class, "-b", f"127.0.0.1:{start.port}", "-w", start.workers,
            "--threads", start.threads or (4 if worker_class == "gthread" else 1), "--backlog", 1024,
            "--keep-alive", 60, "--worker-connections", 20000, "--log-level", "error",
            *start.tls_options("--certfile", "--keyfile"), "apps:application",
        ]  # fmt: skip

    return command


def waitress(start):
    return [
        program("waitress-serve"), f"--listen=127.0.0.1:{start.port}", f"--threads={start.threads or 4}",
        "--connection-limit=20000", "--asyncore-use-poll", "apps:application",
    ]  # fmt: skip


def cheroot(start):
    # Not by its command line, which keeps no more than ten connections alive.
    return [sys.executable, BENCH / "embed.py", "cheroot_wsgi", start.port, start.threads or 10]


def uwsgi(start):
    return [
        program("uwsgi"), "--http11-socket", f"127.0.0.1:{start.port}", "--module", "apps:application", "--master",
        "-p", start.workers, "--threads", start.threads or 1, "--listen", 1024, "--disable-logging", "--tcp-nodelay",
    ]  # fmt: skip


def uwsgi_files(start):
    return [
        program("uwsgi"), "--http11-socket", f"127.0.0.1:{start.port}", "--check-static", start.root, "--master",
        "-p", start.workers, "--listen", 1024, "--disable-logging", "--tcp-nodelay",
    ]  # fmt: skip


def granian(start):
    return [
        program("granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--port", start.port, "--workers",
        start.workers, "--blocking-threads", start.threads or 1, "--backpressure", 20000, "--no-access-log",
        "--log-level", "error", "apps:application",
    ]  # fmt: skip


def granian_files(start):
    return [*granian(start), "--static-path-mount", start.root, "--static-path-route", "/static"]


NGINX = """
worker_processes {start.workers}; daemon off; pid {start.scratch}/nginx.pid; error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 15000; }}
http {{
    include /etc/nginx/mime.types; access_log off; sendfile on;
    keepalive_requests 100000000; keepalive_timeout 75;
    client_body_temp_path {start.scratch}/body; proxy_temp_path {start.scratch}/proxy;
    fastcgi_temp_path {start.scratch}/fastcgi; uwsgi_temp_path {start.scratch}/uwsgi;
    scgi_temp_path {start.scratch}/scgi;
    server {{ listen 127.0.0.1:{start.port} backlog=1024{tls}; root {start.root}; }}
}}
"""


def nginx(start):
    configuration = start.scratch / "nginx.conf"
    cert, key = start.scratch / "cert.pem", start.scratch / "key.pem"
    tls = f" ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key}" if start.tls else ""
    configuration.write_text(NGINX.format(start=start, tls=tls))
    return [program("nginx"), "-e", "stderr", "-c", configuration]


LIGHTTPD = """
server.document-root = "{start.root}"
server.bind = "127.0.0.1"
server.port = {start.port}
server.listen-backlog = 1024
server.max-fds = 20000
server.max-connections = 15000
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 75
mimetype.assign = ( ".txt" => "text/plain", "" => "application/octet-stream" )
{workers}
"""


def lighttpd(start):
    configuration = start.scratch / "lighttpd.conf"
    workers = f"server.max-worker = {start.workers}" if start.workers > 1 else ""
    configuration.write_text(LIGHTTPD.format(start=start, workers=workers))
    return [program("lighttpd"), "-D", "-f", configuration]


def http_server(start):
    return [
        sys.executable, "-m", "http.server", start.port, "--bind", "127.0.0.1", "--directory", start.root,
        "--protocol", "HTTP/1.1",
    ]  # fmt: skip


def floor(mode):
    def command(start):
        return [sys.executable, BENCH / "floor.py", mode, start.port, *([start.root] if mode == "files" else [])]

    return command


SERVERS = [
    Server(
        "asynchttpd", "wsgi", OURS, "async_wsgi.py", ours("async_wsgi.py", *QUIET), workers=True, threads=True, tls=True
    ),
    Server("asynchttpd-log", "wsgi", OURS, "async_wsgi.py", ours("async_wsgi.py", *LOGGING), workers=True, tag="log"),
    Server("floor", "wsgi", FLOOR, "floor.py", floor("hello"), tag="floor"),
    Server("waitress", "wsgi", PYTHON, "waitress", waitress, threads=True),
    Server("cheroot", "wsgi", PYTHON, "cheroot", cheroot, threads=True),
    Server("gunicorn-sync", "wsgi", PYTHON, "gunicorn", gunicorn("sync"), workers=True, tls=True),
    Server("gunicorn-gthread", "wsgi", PYTHON, "gunicorn", gunicorn("gthread"), workers=True, threads=True, tls=True),
    Server("gunicorn-gevent", "wsgi", PYTHON, "gevent", gunicorn("gevent"), workers=True, tls=True),
    Server("tornado", "wsgi", PYTHON, "tornado", embedded("tornado_wsgi"), workers=True),
    Server("twisted", "wsgi", PYTHON, "twisted", embedded("twisted_wsgi")),
    Server("bjoern", "wsgi", C, "bjoern", embedded("bjoern_wsgi"), workers=True),
    Server("uwsgi", "wsgi", C, "uwsgi", uwsgi, workers=True, threads=True),
    Server("granian", "wsgi", C, "granian", granian, workers=True, threads=True),
    Server("asynchttpd", "files", OURS, "httpd.py", ours("httpd.py", *QUIET), workers=True, tls=True),
    Server("asynchttpd-log", "files", OURS, "httpd.py", ours("httpd.py", *LOGGING), workers=True, tag="log"),
    Server("floor", "files", FLOOR, "floor.py", floor("files"), tag="floor"),
    Server("http.server", "files", PYTHON, "http.server", http_server),
    Server("twisted", "files", PYTHON, "twisted", embedded("twisted_files")),
    Server("tornado", "files", PYTHON, "tornado", embedded("tornado_files"), workers=True),
    Server("aiohttp", "files", PYTHON, "aiohttp", embedded("aiohttp_files")),
    Server("nginx", "files", C, "nginx", nginx, workers=True, tls=True),
    Server("lighttpd", "files", C, "lighttpd", lighttpd, workers=True),
    Server("uwsgi", "files", C, "uwsgi", uwsgi_files, workers=True),
    Server("granian", "files", C, "granian", granian_files, workers=True, prefix="/static"),
]


def venv_of(python):
    """Return the folder of our virtual environment for the interpreter *python*."""
    return VENVS / str(Path(shutil.which(python)).resolve()).strip("/").replace("/", "-")


def install(python, chosen):
    """Install what the *chosen* servers need and is not there yet; what cannot be installed is left out later.

    Return the virtual environment's python, which is made from *python*.
    """
    venv = venv_of(python)
    ours = venv / "bin" / "python"
    if not ours.exists():
        print("making", venv.relative_to(BENCH), flush=True)
        subprocess.run([python, "-m", "venv", venv], check=True)
    needs = {server.needs for server in chosen}
    # Programs before modules: bjoern is built against libev.
    install_programs(needs)
    if "gevent" in needs:
        needs.add("gunicorn")
    for package in [*PIP, *(peer for peer in PEERS if peer in needs)]:
        tried = venv / f"{package.partition(';')[0]}-tried"
        if not tried.exists():
            attempt([ours, "-m", "pip", "install", "-q", "--disable-pip-version-check", package])
            tried.touch()
    return ours


def install_programs(needs):
    """Ask whether apt-get may install what is missing; where nobody can be asked, say what it would be."""
    packages = [package for name, package in APT.items() if name in needs | {"wrk", "ab"} and not program(name)]
    if "bjoern" in needs and not os.path.exists(LIBEV):
        packages.append("libev-dev")
    if not packages:
        return
    command = ["apt-get", "install", "-y", "-q", *packages]
    print("missing; to have them:", " ".join(command), flush=True)
    can_install = sys.stdin.isatty() and os.geteuid() == 0 and shutil.which("apt-get")
    if can_install and input("Run this now? [y/N] ").strip().lower() in ("y", "yes"):
        attempt([*command[:1], "-o", "DPkg::Lock::Timeout=300", *command[1:]])


def attempt(command):
    print("installing", command[-1], flush=True)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def missing(server):
    """Return why *server* cannot be started, or None."""
    if server.needs.endswith(".py"):
        places = (CHECKOUT / server.needs, BENCH / server.needs)
        return None if any(map(Path.exists, places)) else f"{server.needs} is not in this checkout"
    if server.needs in APT or server.needs == "uwsgi":
        return None if program(server.needs) else f"{server.needs} is not installed"
    return None if importlib.util.find_spec(server.needs) else f"{server.needs} could not be installed by pip"


def version(server):
    """Return name and version of what was measured, such as "waitress 3.0.2"."""
    if server.needs.endswith(".py") or server.needs == "http.server":
        return server.needs
    if server.needs in APT:
        text = subprocess.run([program(server.needs), "-v"], capture_output=True, text=True)
        return f"{server.needs} {re.search(r'[0-9]+[.][0-9.]+', text.stdout + text.stderr)[0]}"
    return f"{server.needs} {importlib.metadata.version(server.needs)}"
