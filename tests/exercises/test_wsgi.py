"""Check for the exercise of docs/wsgi.md."""

import re


def test_elapsed(solution, connect):
    client = connect(solution())
    for path in ("/a", "/b"):
        found = client.get(path)
        assert (found.status, found.body) == (200, path.encode())
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", found.fields.get("x-elapsed", ""))
