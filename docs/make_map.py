"""Draw docs/map.svg from the imports: each file of the server in a row above all that it imports.

python docs/make_map.py
"""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "map.svg"
PROGRAMS = [ROOT / "httpd.py", ROOT / "async_wsgi.py"]
PARTS = [path for path in sorted((ROOT / "asynchttpd").glob("*.py")) if path.stem != "__init__"]
FILES = {path.stem: path for path in PROGRAMS + PARTS}

WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP, PER_LINE = 838, 128, 30, 10, 6

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>The files of the server: each imports only from rows below its own</title>
<style>
.paper {{ fill: #fff }} .lane {{ fill: #f6f8fa }} .part {{ fill: #eef4fb; stroke: #69c }}
.program {{ fill: #fdf3e3; stroke: #e0a95a }} .pure {{ fill: #eef8ee; stroke: #7b7 }}
text {{ font: 13px sans-serif; fill: #222; text-anchor: middle }}
.note {{ font-size: 12px; fill: #555; text-anchor: start }}
@media (prefers-color-scheme: dark) {{
  .paper {{ fill: #0d1117 }} .lane {{ fill: #151b23 }} .part {{ fill: #16233a; stroke: #4f86c6 }}
  .program {{ fill: #33270f; stroke: #b9852f }} .pure {{ fill: #12261a; stroke: #4a8f5a }}
  text {{ fill: #e6edf3 }} .note {{ fill: #9da7b3 }}
}}
</style>
<rect width="100%" height="100%" class="paper"/>
"""
NOTE = "Each file imports only from rows below its own. Orange: the two programs. Green: imports no other part."


def imported_by(path):
    """Return the names of our files that the one at *path* imports, also those that it imports when it needs them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in FILES for imported in names if re.match(rf"(asynchttpd\.)?{name}\b", imported)}


@functools.cache
def height_of(name):
    """Return in which row a file stands, counted from the bottom: one above the highest that it imports."""
    return 1 + max((height_of(other) for other in imported_by(FILES[name]) - {name}), default=-1)


def picture():
    """Return the picture as text."""
    lines, y = [], GAP
    for height in sorted(set(map(height_of, FILES)), reverse=True):
        names = [name for name in FILES if height_of(name) == height]
        rows = [names[start : start + PER_LINE] for start in range(0, len(names), PER_LINE)]
        lane_height = len(rows) * (BOX_HEIGHT + GAP) + GAP
        lines.append(f'<rect x="4" y="{y}" width="{WIDTH - 8}" height="{lane_height}" rx="8" class="lane"/>\n')
        for number, row in enumerate(rows):
            lines.append(draw_row(row, y + GAP + number * (BOX_HEIGHT + GAP)))
        y += lane_height + 6
    lines.append(f'<text x="8" y="{y + 16}" class="note">{NOTE}</text>\n</svg>\n')
    return HEAD.format(width=WIDTH, height=y + 28) + "".join(lines)


def draw_row(names, y):
    x = (WIDTH - len(names) * (BOX_WIDTH + GAP) + GAP) / 2
    boxes = []
    for name in names:
        kind = "program" if FILES[name] in PROGRAMS else "part" if imported_by(FILES[name]) - {name} else "pure"
        boxes.append(
            f'<rect x="{x:g}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" class="{kind}"/>'
            f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + 20}">{name}.py</text>\n'
        )
        x += BOX_WIDTH + GAP
    return "".join(boxes)


if __name__ == "__main__":
    PICTURE.write_text(picture())
