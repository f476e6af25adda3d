"""The solution itself, where it is installed: its async_wsgi.py takes the place of this one."""

import os
import sys
from pathlib import Path

import asynchttpd

solution = Path(asynchttpd.__file__).parents[1] / "async_wsgi.py"
os.execv(sys.executable, [sys.executable, str(solution), *sys.argv[1:]])
