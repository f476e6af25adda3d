"""The samples, served for real: the site in www/, the applications, and the README's own handler."""

import hashlib
import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
from urllib.parse import urljoin

import pytest
import requests

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def site(start):
    """The URL of a server that serves www/."""
    return start("httpd.py", "-r", "www").url


class Page(html.parser.HTMLParser):
    """What one page says: *links* to others, and *rows*, the cells of its table as text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.rows = [], []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src", "srcset")]
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag == "td":
            self.in_cell = False

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


def page_at(url):
    answer = requests.get(url, timeout=10)
    answer.encoding = "utf-8"
    return Page(answer.text)


def test_each_line_of_the_table_is_answered_as_it_says(site):
    rows = [row for row in page_at(site).rows if row]
    answers = [(row[0], requests.head(site + row[0], allow_redirects=True, timeout=10)) for row in rows]
    told = {row[0]: row[2] for row in rows}
    given = {
        name: f"{answer.status_code} {answer.headers['Content-Type']}" if answer.ok else str(answer.status_code)
        for name, answer in answers
    }
    assert len(told) == 10
    assert given == told


def test_whatever_the_pages_point_to_is_there(site):
    missing_on_purpose = {site + row[0] for row in page_at(site).rows if row and row[2] == "404"}
    missing_on_purpose.add(site + "large.bin")  # made on demand
    seen, todo = set(), {site}
    while todo:
        url = todo.pop()
        seen.add(url)
        answer = requests.get(url, timeout=10)
        assert answer.status_code == 200, url
        if answer.headers["Content-Type"] == "text/html":
            todo |= {urljoin(answer.url, link) for link in page_at(url).links} - seen - missing_on_purpose
    names = {url.removeprefix(site) for url in seen}
    assert names >= {"ask.js", "gallery/pictures/turning.gif", "letters/Gr%C3%BC%C3%9Fe%20an%20Zo%C3%AB.html"}


def test_large_file_has_the_printed_checksum_and_tells_its_offsets(start, tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "www").mkdir()
    script = shutil.copy(ROOT / "examples" / "make_large.py", tmp_path / "examples")
    printed = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout
    url = start("httpd.py", "-r", tmp_path / "www").url
    data = requests.get(url + "large.bin", timeout=60).content
    assert len(data) == 64 * 1024 * 1024
    assert printed.split()[0] == hashlib.sha256(data).hexdigest()
    assert data[4096:4112] == b"000000000004096\n"


def test_my_app_says_hello_world(start):
    answer = requests.get(start("async_wsgi.py", "my_app:application").url, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"], answer.text) == (200, "text/plain", "Hello World")


def test_quote_api_answers_json(start):
    url = start("async_wsgi.py", "examples.quotes:application").url
    quote = requests.get(url + "quote", timeout=10)
    assert quote.headers["Content-Type"] == "application/json"
    assert quote.json()["author"] == "Grace Hopper"
    assert requests.get(url, timeout=10).status_code == 404


def test_handler_of_the_readme_answers_put(start, tmp_path):
    readme = (ROOT / "README.md").read_text()
    program = tmp_path / "upper.py"
    program.write_text(re.search(r"```python\n(.*?)```", readme, re.S)[1])
    url = start(program, "-r", "www", env={**os.environ, "PYTHONPATH": str(ROOT)}).url
    answer = requests.put(url + "any/name", data="quiet", timeout=10)
    assert (answer.status_code, answer.text) == (200, "QUIET")
    assert requests.get(url + "letters/notes-1.2.3.txt", timeout=10).text.startswith("Notes")
