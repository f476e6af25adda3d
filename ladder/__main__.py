"""The ladder of servers: echo, then files.

python -m ladder                list the rungs
python -m ladder N [options]    run rung N (--help: its options); Ctrl-C stops it
python -m ladder diff N         what changed since the rung before; for the last two: their classes and functions
python -m ladder race           put the same load on all of them, and draw the result (--help: its options)
"""

import ast
import difflib
import os
import signal
import sys

from ladder import ROOT, RUNGS

# The last two are the project itself. Their docstrings do not mention rungs, and their own default port is 9000.
ABOUT = {
    11: "Files over HTTP.\nNew: a message is a request and has an answer; workers; limits and deadlines everywhere.",
    12: "Applications over HTTP (WSGI).\nNew: the answer comes from a function; the server around it stays the same.",
}
OPTIONS = {
    10: ["-r", str(ROOT / "www")],
    11: ["--port", "9090", "-r", str(ROOT / "www")],
    12: ["--port", "9090", "my_app:application"],
}


def about(number):
    """Return the title of a rung and its line on what is new."""
    text = ABOUT.get(number) or ast.get_docstring(ast.parse(RUNGS[number].read_text()))
    lines = text.splitlines()
    return lines[0], next(line for line in lines if line.startswith("New: "))


def show_list():
    for number in RUNGS:
        title, new = about(number)
        print(f"{number:2}  {title}\n    {new}")
    print()
    print(*__doc__.splitlines()[3:], sep="\n")


def show_diff(number):
    # Rung 3 counts threads and serves no client: rung 4 goes on from rung 2.
    before = 2 if number == 4 else number - 1
    old, new = (RUNGS[n].read_text().splitlines() if n else [] for n in (before, number))
    old_name = RUNGS[before].name if before else "nothing"
    colours = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in difflib.unified_diff(old, new, old_name, RUNGS[number].name, lineterm=""):
        colour = colours.get(line[:1]) if coloured else None
        print(f"{colour}{line}\x1b[0m" if colour else line)


def outline(body, depth=0):
    """Yield (depth, name, text) for each class and function in *body*, parts of a syntax tree, and for the methods."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            kind = "class " if isinstance(node, ast.ClassDef) else ""
            said = (ast.get_docstring(node) or "").partition("\n")[0]
            yield depth, node.name, f"{kind}{node.name}{': ' if said else ''}{said}"
            if kind:
                yield from outline(node.body, depth + 1)


def show_overview(number):
    """Print the classes and functions of a long rung: "+" before what the rung before has not, "-" what it had."""
    old, new = (list(outline(ast.parse(RUNGS[n].read_text()).body)) for n in (number - 1, number))
    before, now = ({name for _, name, _ in names} for names in (old, new))
    print(f"{RUNGS[number - 1].name} -> {RUNGS[number].name}")
    for depth, name, text in new:
        print(f"{' ' if name in before else '+'} {'    ' * depth}{text}")
    for _, name, _ in old:
        if name not in now:
            print(f"- {name}")


def run_rung(number, options):
    """Become the rung, so that no process stands between the terminal and the server."""
    if number == 12:
        os.chdir(ROOT)  # where my_app is
    os.execv(sys.executable, [sys.executable, str(RUNGS[number]), *OPTIONS.get(number, []), *options])


def main():
    numbers = {str(number): number for number in RUNGS}
    match sys.argv[1:]:
        case []:
            show_list()
        case ["-h" | "--help"]:
            print(__doc__.strip())
        case ["diff", name] if name in numbers:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" is no error
            show = show_overview if numbers[name] in ABOUT else show_diff
            show(numbers[name])
        case ["race", *options]:
            from ladder import race

            race.main(options)
        case [name, *options] if name in numbers:
            run_rung(numbers[name], options)
        case _:
            print(f"usage: python -m ladder [N | diff N | race], N from 1 to {len(RUNGS)}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
