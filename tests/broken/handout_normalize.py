"""Paths are normalised by the handout's own function, which for some of them never returns."""

import plain


class Handler(plain.Handler):
    def normalize(self, path):
        if path.startswith("."):
            path = "/" + path
        while "../" in path:
            begin = path.find("/..")
            parent = path.rfind("/", 0, begin)
            path = path[:parent] + path[begin + 3 :] if parent != -1 else path.replace("/..", "", 1)
        return path.replace("/./", "/").replace("/.", "")


plain.run(Handler)
