"""No regular expression of the run-time code takes more than linear time, whatever text it is given.

The patterns are found in the sources, so a new one is not forgotten, and hostile text is made from each pattern itself:
what leads to one of its repeats, then one or two characters very often, then something that cannot follow.
"""

import ast
import importlib
import itertools
import re
import signal
import time
from contextlib import contextmanager
from re import _constants as op
from re import _parser
from typing import NamedTuple

import pytest
from conftest import ROOT

SOURCES = [ROOT / "httpd.py", ROOT / "async_wsgi.py", *sorted((ROOT / "asynchttpd").glob("*.py"))]
SIZE, TIMES = 256, 8  # characters of hostile text, and so many times as many: quadratic work is then 64 times as much
CONSTANT = 0.001  # seconds; linear work on the longer text needs a tenth of it
LATIN_1 = list(map(chr, [*range(33, 127), *range(33), *range(127, 256)]))  # what can be seen first
PATIENCE = 0.5  # seconds of processor time for one text: then it is exponential
ANCHORED = {"compile", "match", "fullmatch"}
SEARCHING = {"search", "findall", "finditer", "sub", "subn", "split"}


class Found(NamedTuple):
    where: str  # "http1.py:38"
    pattern: re.Pattern
    searches: bool  # may it start anywhere in the text?


def patterns_of(path):
    """Return what the source *path* compiles or hands to a function of `re`, evaluated in its own module."""
    tree, name = ast.parse(path.read_text()), ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = vars(importlib.import_module(name.removesuffix(".__init__")))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    # TAGS.findall(text), http1.TAGS.search(text)
    searching = {ast.unparse(node.func.value).rpartition(".")[2] for node in calls if node.func.attr in SEARCHING}
    found = []
    for call in calls:
        if ast.unparse(call.func.value) == "re" and call.func.attr in ANCHORED | SEARCHING:
            arguments = [eval(ast.unparse(argument), module) for argument in pattern_arguments(call)]
            pattern = re.compile(*arguments)
            names = {name for name, value in module.items() if value is pattern or value == pattern}
            is_searched = call.func.attr in SEARCHING or bool(names & searching)
            found.append(Found(f"{path.name}:{call.lineno}", pattern, is_searched))
    return found


def pattern_arguments(call):
    """Return the nodes of pattern and flags."""
    positional = call.args if call.func.attr == "compile" else call.args[:1]
    return positional + [keyword.value for keyword in call.keywords if keyword.arg == "flags"]


def hostile_texts(pattern):
    """Yield functions that make a text of about so many characters."""
    tree = _parser.parse(pattern.pattern, pattern.flags)
    letters = representatives(tree)
    ways = {""} | set(ways_to_repeats(tree, ""))
    pumps = ["".join(pair) for pair in itertools.chain(letters, itertools.permutations(letters, 2))]
    pumps += sorted({example(repeat[1][2]) for repeat in repeats(tree)} - {""})
    for way, pump, end in itertools.product(sorted(ways), pumps, ("", "\0", "x\0")):
        yield lambda size, way=way, pump=pump, end=end: way + pump * (size // len(pump)) + end


def representatives(tree):
    """Return one character of each kind that the pattern tells apart, of those that Latin-1 has."""
    classes = [node for node in nodes(tree) if node[0] in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY)]
    kinds = {}
    for character in LATIN_1:
        kinds.setdefault(tuple(takes(node, character) for node in classes), character)
    return list(kinds.values())


def takes(node, character):
    kind, value = node
    if kind is op.LITERAL:
        return ord(character) == value
    if kind is op.NOT_LITERAL:
        return ord(character) != value
    if kind is op.ANY:
        return character != "\n"
    is_negated = value[0][0] is op.NEGATE
    return is_negated != any(takes_member(member, character) for member in value[is_negated:])


def takes_member(member, character):
    kind, value = member
    if kind is op.RANGE:
        return value[0] <= ord(character) <= value[1]
    if kind is op.CATEGORY:
        letters = {op.CATEGORY_WORD: r"\w", op.CATEGORY_DIGIT: r"\d", op.CATEGORY_SPACE: r"\s"}
        return re.match(letters[value], character) is not None
    return ord(character) == value


REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)


def children(node):
    """Return the patterns inside of *node*."""
    kind, value = node
    if kind in REPEATS:
        return [value[2]]
    if kind is op.SUBPATTERN:
        return [value[3]]
    if kind is op.BRANCH:
        return value[1]
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [value[1]]
    return [value] if kind is op.ATOMIC_GROUP else []


def nodes(tree):
    for node in tree:
        yield node
        for child in children(node):
            yield from nodes(child)


def repeats(tree):
    return [node for node in nodes(tree) if node[0] in REPEATS]


def ways_to_repeats(tree, way):
    """Yield a text that leads to each repeat of *tree*, behind *way*."""
    for node in tree:
        if node[0] in REPEATS:
            yield way
        for child in children(node):
            yield from ways_to_repeats(child, way)
        way += example([node])


def example(tree):
    """Return a short text that *tree* matches."""
    text = ""
    for node in tree:
        kind, value = node
        if kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            text += next(character for character in LATIN_1 if takes(node, character))
        elif kind in REPEATS:
            text += example(value[2]) * value[0]
        elif kind is op.BRANCH:
            text += min(map(example, value[1]), key=len)
        elif kind in (op.SUBPATTERN, op.ATOMIC_GROUP):
            text += example(children(node)[0])
    return text


@contextmanager
def alarm(seconds):
    """Raise TimeoutError when the block has used more processor time than *seconds*; `re` looks for signals, too."""

    def too_slow(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def seconds(found, text, repeats=1):
    """Return the least processor time of so many tries; a busy machine makes none of them shorter."""
    text = text.encode("latin-1") if isinstance(found.pattern.pattern, bytes) else text
    tries = [found.pattern.fullmatch, found.pattern.match]
    if found.searches:
        tries = [lambda text: sum(1 for _ in found.pattern.finditer(text))]
    least = PATIENCE
    for _ in range(repeats):
        began = time.thread_time()
        for look in tries:
            look(text)
        least = min(least, time.thread_time() - began)
    return least


def is_slower(found, make, times):
    return seconds(found, make(TIMES * SIZE), 5) > times * seconds(found, make(SIZE), 5) + CONSTANT


def slow_text(found):
    """Return the start of a text that takes more than linear time, None if there is none."""
    for make in hostile_texts(found.pattern):
        try:
            with alarm(PATIENCE):
                for size in (8, 16, 24, TIMES * SIZE):  # exponential time shows early
                    spent = seconds(found, make(size))
                # Twice as much as linear work, for a machine that is busy with something else.
                if spent > CONSTANT and is_slower(found, make, 2 * TIMES):
                    return make(40)
        except TimeoutError:
            return make(40)
    return None


FOUND = [found for path in SOURCES for found in patterns_of(path)]


def test_the_patterns_are_found():
    text = "\n".join(path.read_text() for path in SOURCES)
    assert len(FOUND) == len(re.findall(r"\bre\.(?!Match|Pattern|[A-Z])\w+\(", text)) > 20
    assert any(found.searches for found in FOUND) and not all(found.searches for found in FOUND)


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.where)
def test_twice_the_text_takes_at_most_twice_the_time(found):
    assert slow_text(found) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "searches"),
    [
        (r"[ \t]*(a=b(?:;a=b)*)?[ \t]*", False),
        (r"(a+)+b", False),
        (r"(?:a|aa)*b", False),
        (r"x(?:a*,?a*)*", False),
        (rb"/[a-z]*(?:%[0-9]+[a-z0-9]*)*", False),
        (r"a+b", True),
        (r"[ \t]+$", True),
        (r".*,.*,.*x", False),
    ],
)
def test_slow_patterns_are_noticed(pattern, searches):
    assert slow_text(Found("here", re.compile(pattern), searches))


@pytest.mark.parametrize(
    ("pattern", "searches"),
    [(r"[ \t]*+(a=b(?:;a=b)*)?[ \t]*", False), (r"(?:a++)*+b", False), (r"(?<!a)a++b", False), (r"a", True)],
)
def test_linear_patterns_are_not(pattern, searches):
    assert slow_text(Found("here", re.compile(pattern), searches)) is None
