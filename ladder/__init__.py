"""Servers, one idea per rung: from an echo in one blocking thread to a small file server, httpd.py and async_wsgi.py.

Climb with ``python -m ladder`` (list), ``python -m ladder N`` (run) and
``python -m ladder diff N`` (what is new). Each rung is a file that stands alone.
"""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FILES = sorted(HERE.glob("rung*.py"), key=lambda file: int(re.search(r"\d+", file.name)[0]))
RUNGS = dict(enumerate([*FILES, ROOT / "httpd.py", ROOT / "async_wsgi.py"], start=1))
