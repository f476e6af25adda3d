"""The prose holds what it promises: what it names is there, and its links lead somewhere."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAP = ROOT / "docs" / "rfc.md"

# What docs/rfc.md says between backquotes of code, tests and raw requests.
CODE = re.compile(r"(\w+\.py): (\w+)")
TEST = re.compile(r"(test_\w+\.py)::(test_\w+)")
CORPUS = re.compile(r"((?:valid|invalid)/\S+\.http)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def spans(page):
    return sorted(set(re.findall(r"`([^`\n]+)`", page.read_text())))


@functools.cache
def names_in(path):
    """Return what the source at *path* defines: functions, classes and whatever a value is assigned to."""
    return names_under(ast.parse(path.read_text()))


def names_under(tree):
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def exists(reference):
    if match := CODE.fullmatch(reference):
        path = ROOT / match[1]
        return match[2] in names_in(path if path.exists() else ROOT / "asynchttpd" / match[1])
    if match := TEST.fullmatch(reference):
        return match[2] in names_in(ROOT / "tests" / match[1])
    if match := CORPUS.fullmatch(reference):
        return any((ROOT / "tests" / "requests").glob(match[1]))
    return (ROOT / reference).is_file()


def test_what_the_rfc_map_names_exists():
    references = [span for span in spans(MAP) if ".py" in span or ".http" in span]
    assert len(references) > 200
    assert [reference for reference in references if not exists(reference)] == []


def test_each_section_of_the_rfc_map_tells_code_or_why_not_and_comes_once():
    sections, tables = [], re.split("^## ", MAP.read_text(), flags=re.M)
    for table in tables:
        for row in re.findall(r"^\| (§.*) \|$", table, re.M):
            section, answer, code, tests = row.split(" | ")
            sections.append((table.partition("\n")[0], section))
            assert answer.strip(), row
            assert not answer.startswith("yes") or (code.strip(" -") and tests.strip(" -")), row
    assert len(sections) > 100
    assert len(sections) == len(set(sections))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    targets = [link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_that_are_named_exist(page):
    named = [span for span in spans(page) if re.fullmatch(r"[\w./-]+\.md", span)]
    missing = [name for name in named if not ((ROOT / name).exists() or (page.parent / name).exists())]
    assert not missing


def test_options_page_says_what_the_parsers_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    make_options = importlib.import_module("make_options")
    assert make_options.PAGE.read_text() == make_options.page(), "run python docs/make_options.py"


def test_each_page_is_in_the_index_and_leads_to_the_next():
    index = re.findall(r"^\| \[(\S+)\]\(\1\) \|", (ROOT / "docs" / "README.md").read_text(), re.M)
    assert sorted(index) == sorted(page.name for page in PAGES if page.name != "README.md")
    last_lines = [(ROOT / "docs" / name).read_text().splitlines()[-1] for name in index]
    leads = [
        last.startswith((f"Next: [{name}]({name}), ", f"Далее: [{name}]({name}), "))
        for last, name in zip(last_lines, index[1:], strict=False)
    ]
    assert all(leads)
    assert "](README.md)" in last_lines[-1]


def test_server_prints_what_the_readme_shows(start):
    printed = start("httpd.py", "-r", "www", "-w", 4).log_path.read_text()
    assert line_of_the_start(printed) == line_of_the_start((ROOT / "README.md").read_text())


def line_of_the_start(text):
    """Return the line that tells where the server listens, without what differs from run to run."""
    line = re.search(r"^.* Serving HTTP on .*$", text, re.M)[0]
    return re.sub(r"[+-]?\d+(?! worker)|(?<=root ).*(?=/www)", "...", line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_attributes_of_our_classes_that_are_named_exist(page):
    named = [
        span.removesuffix("()").split(".") for span in spans(page) if re.fullmatch(r"[A-Z]\w+\.[a-z]\w+(\(\))?", span)
    ]
    classes = members_of_classes()
    missing = [f"{owner}.{name}" for owner, name in named if owner in classes and name not in classes[owner]]
    assert not missing


@functools.cache
def members_of_classes():
    """Return {class: names that its body defines or it inherits from our other classes} of the run-time code."""
    files = [ROOT / "httpd.py", ROOT / "async_wsgi.py", *(ROOT / "asynchttpd").glob("*.py")]
    nodes = {
        node.name: node
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }

    def members(name):
        parents = [ast.unparse(base).rpartition(".")[2] for base in nodes[name].bases]
        return names_under(nodes[name]).union(*(members(parent) for parent in parents if parent in nodes))

    return {name: members(name) for name in nodes}


# In these, "httpd.py" is a student's; or the page is made from the parsers; or each row has the file beside the name.
NO_LINKS = {"README.md", "lab.md", "lab.ru.md", "teaching.md", "options.md", "rfc.md"}
CODE_BLOCK = re.compile(r"^```.*?^```|^    .*?$", re.M | re.S)
NAMED = re.compile(r"(\[?)`(?:asynchttpd/)?(\w+(?:\.py)?)(?:\.\w+(?:\(\))?)?`(?:\]\((\S+?)\))?")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in NO_LINKS], ids=lambda page: page.name)
def test_first_mention_of_a_file_or_a_class_of_the_server_links_to_it(page):
    files, seen = files_by_name(), set()
    for _bracket, name, target in NAMED.findall(CODE_BLOCK.sub("", page.read_text())):
        if name in files and name not in seen:
            seen.add(name)
            assert target and (page.parent / target).resolve() in files[name], f"{name} is no link to its file"


@functools.cache
def files_by_name():
    """Return {name of a file or of a class: where it is} of the run-time code."""
    places = {}
    for path in [ROOT / "httpd.py", ROOT / "async_wsgi.py", *(ROOT / "asynchttpd").glob("*.py")]:
        classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        for name in [path.name, *classes]:
            places.setdefault(name, set()).add(path)
    return places


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=lambda picture: picture.name)
def test_functions_that_a_picture_names_exist(picture):
    code = [ROOT / "httpd.py", ROOT / "async_wsgi.py", *(ROOT / "asynchttpd").glob("*.py")]
    defined = set().union(*(names_in(path) for path in code))
    assert set(re.findall(r"(\w+)\(\)", picture.read_text())) <= defined


def test_map_shows_every_file_of_the_server():
    parts = [path.name for path in (ROOT / "asynchttpd").glob("*.py") if path.stem != "__init__"]
    shown = re.findall(r">(\w+\.py)<", (ROOT / "docs" / "map.svg").read_text())
    assert sorted(shown) == sorted([*parts, "httpd.py", "async_wsgi.py"]), "run python docs/make_map.py"
