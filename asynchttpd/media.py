"""From a file's name to its media type: the same on every host.

Not here: content codings, and what the operator has said (files.py).
"""

import functools

# Before Python's own table, which differs from version to version.
CONTENT_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".atom": "application/atom+xml",
    ".avif": "image/avif",
    ".bz2": "application/x-bzip2",
    ".cjs": "text/javascript",
    ".css": "text/css",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".eot": "application/vnd.ms-fontobject",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gif": "image/gif",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".gz": "application/gzip",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".ics": "text/calendar",
    ".ini": "text/plain",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".kmz": "application/vnd.google-earth.kmz",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rss": "application/rss+xml",
    ".rtf": "application/rtf",
    ".svg": "image/svg+xml",
    ".svgz": "image/svg+xml",
    ".swf": "application/x-shockwave-flash",
    ".toml": "application/toml",
    ".ts": "video/mp2t",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}
# Names without a suffix that usually mean text.
TEXT_NAMES = {
    "authors", "changelog", "changes", "containerfile", "contributing", "copying", "dockerfile", "gemfile", "install",
    "licence", "license", "makefile", "news", "notice", "procfile", "rakefile", "readme", "thanks", "todo", "version",
}  # fmt: skip
# These types say their charset themselves, or the course wants them so; other text is said to be in UTF-8.
NO_CHARSET = {"text/html", "text/css", "text/javascript"}


def media_type(suffix):
    """Return the media type of files with *suffix*, with a charset if they are text.

    >>> media_type(".txt"), media_type(".html"), media_type("makefile"), media_type(".unheard-of")
    ('text/plain; charset=utf-8', 'text/html', 'text/plain; charset=utf-8', 'application/octet-stream')
    """
    found = CONTENT_TYPES.get(suffix) or ("text/plain" if suffix in TEXT_NAMES else standard_types().get(suffix))
    if found and found.startswith("text/") and found not in NO_CHARSET:
        found += "; charset=utf-8"
    return found or "application/octet-stream"


@functools.cache
def standard_types():
    """Return Python's built-in table, never the system's or an application's: answers must not depend on the host."""
    import mimetypes

    return mimetypes.MimeTypes(filenames=()).types_map[True]
