"""Write www/large.bin: 64 MiB in which every 16-byte line is its own offset.

The line at byte 4096 reads "000000000004096", so you see at once where a
client has received a piece twice, or not at all. The command prints the
SHA-256, so that you can compare both sides:

    python examples/make_large.py
    curl -s http://127.0.0.1:9000/large.bin | sha256sum
"""

import hashlib
import pathlib

PATH = pathlib.Path(__file__).parent.parent / "www" / "large.bin"
SIZE = 64 * 1024 * 1024  # bytes
CHUNK_SIZE = 1024 * 1024  # bytes


def make_large(path, size):
    """Write *size* bytes (a multiple of CHUNK_SIZE) to *path*; return their SHA-256 in hex."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for start in range(0, size, CHUNK_SIZE):
            chunk = b"".join(b"%015d\n" % offset for offset in range(start, start + CHUNK_SIZE, 16))
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    print(make_large(PATH, SIZE), PATH)
