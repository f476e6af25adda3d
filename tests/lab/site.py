"""The document root that the lab check serves: all that the handout's "How it is checked" names."""

import random

LARGE = "large.bin"
QUARTER, SIXTEENTH = "quarter.bin", "sixteenth.bin"  # of its size
CYRILLIC = "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! " * 20  # as every page of such a course has them
SECRET = b"This file lies outside the document root.\n"

# Every byte value, with the sequences that text mode changes: CR LF, a lone CR, Ctrl-Z, invalid UTF-8.
ANY_BYTES = bytes(range(256)) + b"\r\n\r\r\n\n\x1a\xff\xfe\xc3(" + bytes(range(255, -1, -1))

IMAGES = {
    "types/photo.jpg": b"\xff\xd8\xff\xe0" + ANY_BYTES,
    "types/photo.jpeg": b"\xff\xd8\xff\xe1" + ANY_BYTES,
    "types/drawing.png": b"\x89PNG\r\n\x1a\n" + ANY_BYTES,
    "types/moving.gif": b"GIF89a" + ANY_BYTES,
}

FILES = {
    "index.html": b"<!doctype html><title>root</title>\n",
    "page.html": b"<!doctype html><title>page</title>\n" + b"<p>A page of the lab check.</p>\n" * 20,
    "dir/index.html": b"<!doctype html><title>index of dir</title>\n",
    "no-index/page.html": b"<!doctype html><title>a page in a folder without index.html</title>\n",
    "dir1/dir12/dir123/deep.txt": b"three folders down\n",
    "space in name.txt": b"a name with spaces\n",
    "\u043f\u0440\u0438\u0432\u0435\u0442.txt": b"a name with letters outside ASCII\n",
    "%41.txt": b"the name begins with a percent sign\n",
    "A.txt": b"reached only by decoding %2541 twice\n",
    "text..txt": b"two dots inside the name\n",
    "dir/.hidden.txt": b"a name that begins with a dot\n",
    "dirhidden.txt": b"reached only by taking '/.' out of /dir/.hidden.txt\n",
    "dir/hidden.txt": b"reached only by taking the dot out of /dir/.hidden.txt\n",
    ".well-known/x.txt": b"a folder that begins with a dot\n",
    "text.txt": b"one dot inside the name\n",
    "texttxt": b"reached only by taking '..' out of /text..txt\n",
    "well-known/x.txt": b"reached only by taking '/.' out of /.well-known/x.txt\n",
    "space": b"reached only by cutting a name at its space\n",
    "empty.txt": b"",
    "cyrillic.html": f"<!doctype html><meta charset=utf-8><p>{CYRILLIC}\n".encode(),
    "cyrillic.txt": CYRILLIC.encode(),
    "types/page.html": b"<!doctype html><title>types</title>\n",
    "types/style.css": b"body { color: black }\n",
    "types/script.js": b"document.title = 'script';\n",
    "types/film.swf": b"FWS" + ANY_BYTES,
    "types/text.txt": b"plain text\n",
    **IMAGES,
    # More than all socket buffers on the way hold, so that send() must come up short.
    LARGE: random.Random(7).randbytes(16 * 1024 * 1024),
    QUARTER: random.Random(8).randbytes(4 * 1024 * 1024),
    SIXTEENTH: random.Random(9).randbytes(1024 * 1024),
}


def build_site(parent):
    """Write the site below *parent* (a Path) and return its root; beside it lie files that must never be served."""
    root = parent / "www"
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (parent / "www-secret").mkdir()
    (parent / "www-secret" / "secret.txt").write_bytes(SECRET)
    (parent / "secret.txt").write_bytes(SECRET)
    return root
