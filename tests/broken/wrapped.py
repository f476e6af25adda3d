"""nginx or lighttpd with the lab's command line: `wrapped.py nginx -r ROOT -w 4 --port 9000`. Not broken at all."""

import argparse
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from plain import TYPES

NGINX = """
user root; daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes {workers};
events {{ worker_connections 1024; }}
http {{
    access_log off; types {{ {types} }} default_type application/octet-stream;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; index index.html; }}
}}
"""
LIGHTTPD = """
server.port = {port}
server.bind = "127.0.0.1"
server.document-root = "{root}"
server.max-worker = {workers}
server.errorlog = "{folder}/log"
index-file.names = ("index.html")
mimetype.assign = ( {types} )
"""

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("-r", dest="root")
parser.add_argument("-w", dest="workers")
parser.add_argument("--port")
args = parser.parse_args()
folder = tempfile.mkdtemp()
if args.program == "nginx":
    types = " ".join(f"{value} {suffix[1:]};" for suffix, value in TYPES.items())
    text, command = NGINX, ["nginx", "-e", f"{folder}/log", "-c", f"{folder}/conf"]
else:
    types = ", ".join(f'"{suffix}" => "{value}"' for suffix, value in TYPES.items())
    text, command = LIGHTTPD, ["lighttpd", "-D", "-f", f"{folder}/conf"]
Path(folder, "conf").write_text(text.format(folder=folder, types=types, **vars(args)))
os.environ["PATH"] += ":/usr/sbin"
process = subprocess.Popen(command)
signal.signal(signal.SIGTERM, lambda *_: process.terminate())
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program gets it, too
process.wait()
