"""The parts that httpd.py and async_wsgi.py stand on, one subject a file. Nothing here imports the two programs."""

__version__ = "0.1.0"

import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- whoever starts us with an older one shall learn it in one line
    sys.exit(f"asynchttpd needs Python 3.11 or newer; this is {sys.version_info[0]}.{sys.version_info[1]}")
