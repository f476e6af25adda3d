"""What the lab asks, as rules: their order and their points, 100 in all. No rule has its text here: messages.py has it.

The key of a rule is its anchor in docs/lab.md; each check names its rule with `@pytest.mark.rule("head")`. Checks of
one rule share its points.
"""

# Part -> {rule: points}
PARTS = {
    "files": {
        "file": 3,
        "index": 2,
        "no-index": 1,
        "missing": 2,
        "nested": 1,
        "empty": 1,
        "escapes": 3,
        "query": 2,
        "slash": 1,
        "dots": 2,
        "root": 7,
        "normalize": 3,
    },
    "answers": {
        "content-type": 3,
        "content-length": 3,
        "server": 1,
        "date": 2,
        "last-modified": 1,
        "connection": 1,
        "head": 3,
        "methods": 2,
        "post": 1,
        "bytes": 2,
        "large": 4,
        "first-byte": 1,
    },
    "connections": {
        "keep-alive": 2,
        "pipelining": 1,
        "close": 2,
        "split": 2,
        "body": 1,
        "malformed": 2,
    },
    "clients": {
        "clients-that-leave": 3,
        "silent-clients": 3,
        "half-requests": 3,
        "slow-readers": 3,
    },
    "processes": {
        "load": 3,
        "queue": 1,
        "workers": 3,
        "output": 1,
        "stop": 2,
        "restart": 1,
    },
    "wsgi": {
        "wsgi-hello": 5,
        "wsgi-headers": 2,
        "wsgi-paths": 2,
        "wsgi-post": 2,
        "wsgi-head": 2,
        "wsgi-again": 2,
    },
}
POINTS = {rule: points for part in PARTS.values() for rule, points in part.items()}
# One hole is a hole: these have no share.
ALL_OR_NOTHING = {"root"}
# What HTTP leaves to the server: a check of it may say "not offered", and `--require` asks for it.
OPTIONAL = {"keep-alive", "pipelining", "last-modified"}
