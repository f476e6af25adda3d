"""The files in deploy/, each judged by the program that will read it. CI has all of these programs."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, python_command, running_servers, wait_until

import httpd

DEPLOY = ROOT / "deploy"
BESIDE_PYTHON = Path(sys.executable).parent  # where pip puts programs


def installed(tool):
    return shutil.which(tool) or shutil.which(tool, path=BESIDE_PYTHON) or pytest.skip(f"{tool} is not installed")


def judged(tool, *arguments, **options):
    """Run *tool*; return its output if it is content, else fail."""
    ended = subprocess.run([installed(tool), *arguments], capture_output=True, text=True, timeout=PATIENCE, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["haproxy.cfg", "haproxy-compose.cfg"])
def test_haproxy_takes_its_file(name):
    judged("haproxy", "-c", "-f", DEPLOY / name)


def test_nginx_takes_its_file(tmp_path):
    judged("nginx", "-t", "-p", tmp_path, "-c", DEPLOY / "nginx.conf")


def test_caddy_takes_its_file(tmp_path):
    judged("caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile", env={"HOME": str(tmp_path)})


def test_prometheus_takes_its_file():
    judged("promtool", "check", "config", DEPLOY / "prometheus.yml")


def test_prometheus_understands_the_dashboard(tmp_path):
    """Each query as the rule of a recording, which promtool can check."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": "shown", "expr": query.replace("$__rate_interval", "1m")} for query in queries]
    for number, rule in enumerate(rules):
        rule["record"] += str(number)
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    assert f"{len(queries)} rules found" in judged("promtool", "check", "rules", path)


def test_dockerfile_is_as_hadolint_wants_it():
    judged("hadolint", DEPLOY / "Dockerfile")


def test_kubernetes_knows_every_object():
    assert judged("kubernetes-validate", "--strict", DEPLOY / "kubernetes.yaml").count("passed") == 3


@pytest.fixture
def units(tmp_path):
    """The units in a folder of their own; the program that they start is there, unlike on this machine."""
    for name in ("asynchttpd.service", "asynchttpd.socket"):
        text = (DEPLOY / name).read_text().replace("/opt/asynchttpd/bin/asynchttpd", "/bin/true")
        (tmp_path / name).write_text(text)
    return tmp_path


def test_systemd_takes_the_units(units):
    assert judged("systemd-analyze", "verify", units / "asynchttpd.service") == ""


def test_systemd_hands_over_its_socket(tmp_path, connect):
    """The first client comes before the server is started, and is answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [installed("systemd-socket-activate"), "-l", f"127.0.0.1:{port}"]
    with running_servers(tmp_path) as run:
        server = run([*command, *python_command("httpd.py", "-r", ROOT / "www")])
        log = server.log_path
        wait_until(lambda: log.exists() and "Listening on" in log.read_text(), "a listening systemd")
        server.host, server.port = "127.0.0.1", port
        assert connect(server).get("/").status == 200


def test_service_is_hardened(units):
    judged("systemd-analyze", "security", "--offline=yes", "--threshold=20", units / "asynchttpd.service")


def test_every_option_in_the_files_exists():
    known = set(re.findall(r"--[a-z-]+", httpd.command_line.argument_parser("").format_help()))
    of_ours = r"(?:ExecStart=|ENTRYPOINT|CMD \[\"--root|command:|args:|# Each instance:).*"
    used = {
        option
        for path in DEPLOY.iterdir()
        for line in re.findall(of_ours, path.read_text())
        for option in re.findall(r"--[a-z-]+", line)
    }
    assert len(used) > 4
    assert used <= known
