"""Echo servers, one idea per rung: from one blocking thread to httpd.py and async_wsgi.py.

Climb with ``python -m ladder`` (list), ``python -m ladder N`` (run) and
``python -m ladder diff N`` (what is new). Each rung is a file that stands alone.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RUNGS = dict(enumerate([*sorted(HERE.glob("rung*.py")), ROOT / "httpd.py", ROOT / "async_wsgi.py"], start=1))
