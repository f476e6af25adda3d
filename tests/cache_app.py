"""A WSGI application that says back what it was told and, at /measure, how many bytes its worker's caches hold."""

import gc
import sys


def application(environ, start_response):
    start_response("200 OK", [("X-Echo", environ.get("HTTP_COOKIE", ""))])
    return [str(bytes_in_caches()).encode() if environ["PATH_INFO"] == "/measure" else b"hello"]


def bytes_in_caches():
    """Return the bytes of everything that is remembered by the lru_caches, and their like, of the server's modules."""
    ours = [module for name, module in sys.modules.items() if name in ("httpd", "async_wsgi") or "asynchttpd." in name]
    ours.append(sys.modules["__main__"])
    todo = list({id(value): value for module in ours for value in vars(module).values() if is_cache(value)}.values())
    assert len(todo) > 5
    seen, size = set(), 0
    while todo:
        for held in gc.get_referents(todo.pop()):
            if id(held) not in seen and isinstance(held, str | bytes | tuple | list | dict):
                seen.add(id(held))
                size += sys.getsizeof(held)
                todo.append(held)
    return size


def is_cache(value):
    return hasattr(value, "cache_info") or (isinstance(value, dict) and hasattr(value, "__missing__"))
