"""Listings of folders: hostile names, order, bounds, and the page and the JSON as the server sends them."""

import html.parser
import json
import os
import threading
from urllib.parse import unquote_to_bytes, urljoin

import pytest
from conftest import python_command, running_servers
from properties import given, st

from asynchttpd import listing

HOSTILE = [
    b"<img src=x onerror=alert(1)>",
    b"javascript:alert(1)",
    b'"><b>',
    b"'onmouseover='alert(1)",
    b"</table><script>alert(1)</script>",
    b"a\nb",
    b"\x1b[31m",
    b"\xff\xfe",
    b"&lt;",
    b"a?b#c",
    b"100%",
    b"%2e%2e",
    b"//evil.example",
    b"\\evil",
    b" leading and trailing ",
    b"..hidden?",
    b"{name}",
    "Grüße an Zoë".encode(),
]
HOSTILE_FILES = [name for name in HOSTILE if b"/" not in name and not name.startswith(b".")]


class Page(html.parser.HTMLParser):
    """What a browser sees: *links* (address -> text), the cells of the *rows*, the *tags*, and the *text* of all."""

    def __init__(self, page):
        super().__init__()
        self.links, self.rows, self.tags, self.text = {}, [], [], ""
        self.address, self.in_cell = None, False
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(dict(attributes))))
        if tag == "a":
            self.address = dict(attributes)["href"]
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag == "a":
            self.address = None
        elif tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        self.text += data
        if self.address is not None:
            self.links[self.address] = self.links.get(self.address, "") + data
        if self.in_cell:
            self.rows[-1][-1] += data


def entry(name, is_folder=False, size=0, mtime=0.0):
    return listing.Entry(os.fsdecode(name), is_folder, size, mtime)


def shown(path, entries):
    return Page(listing.as_html(path, listing.Page(entries, 1, 1, len(entries), False)))


NAMES = st.binary(min_size=1, max_size=60).filter(lambda name: not {0, 47} & set(name))


@given(NAMES, st.booleans())
def test_every_name_is_text_and_its_link_leads_to_it(name, is_folder):
    page = shown("/folder/", [entry(name, is_folder)])
    (link, _text) = list(page.links.items())[1]
    assert link.isascii() and link.startswith("./")
    assert unquote_to_bytes(link) == b"./" + name + b"/" * is_folder
    absolute = urljoin("http://a/folder/", link)
    assert absolute.startswith("http://a/folder/")
    assert page.tags == shown("/folder/", [entry(b"harmless", is_folder)]).tags


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_are(name):
    page = shown(f"/{os.fsdecode(name)}/", [entry(name)])
    text = list(page.links.values())[1]
    expected = name.decode("utf-8", "replace").replace("\n", "\u240a").replace("\x1b", "\u241b")
    assert text == expected
    assert page.text.count(f"/{expected}/") == 2  # title and heading


def test_names_cannot_turn_the_direction_of_what_follows():
    """ "ev\\u202egnp.exe" would be read as "evexe.png"."""
    turned = "ev\u202egnp.exe"
    page = shown("/", [entry(turned.encode())])
    assert list(page.links.values()) == ["ev\ufffdgnp.exe"]
    hebrew = "עברית.txt"
    assert list(shown("/", [entry(hebrew.encode())]).links.values()) == [hebrew]


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (0x01, 0x2401), (0x1F, 0x241F), (0x20, 0x20), (0x7E, 0x7E), (0x7F, 0x2421), (0x80, 0xFFFD), (0x9F, 0xFFFD),
        (0xA0, 0xA0), (0x2029, 0x2029), (0x202A, 0xFFFD), (0x202E, 0xFFFD), (0x202F, 0x202F), (0x2065, 0x2065),
        (0x2066, 0xFFFD), (0x2069, 0xFFFD), (0x206A, 0x206A),
    ],
)  # fmt: skip
def test_a_character_that_has_no_picture_gets_one(code, seen):
    assert list(shown("/", [entry(f"a{chr(code)}b".encode())]).links.values()) == [f"a{chr(seen)}b"]


def test_the_way_up_is_there_except_at_the_top():
    assert "../" in shown("/a/", []).links
    assert shown("/", []).links == {}


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536, "1.5 KiB"), (10**6, "976.6 KiB"), (2**40, "1.0 TiB")],
)
def test_sizes_are_short(size, text):
    assert shown("/", [entry(b"x", size=size)]).rows[-1][1] == text


@pytest.mark.parametrize(
    ("mtime", "text"),
    [
        (784111777.9, "1994-11-06 08:49"),
        (0, "1970-01-01 00:00"),
        (-86400, "1969-12-31 00:00"),
        (253402300800 - 1, "9999-12-31 23:59"),
        (2.0**70, ""),
        (-(2.0**70), ""),
        (float("nan"), ""),
    ],
)
def test_dates_are_utc_or_nothing(mtime, text):
    assert shown("/", [entry(b"x", mtime=mtime)]).rows[-1][2] == text


# As the server sends them.


@pytest.fixture(scope="module")
def www(tmp_path_factory):
    www = tmp_path_factory.mktemp("site") / "www"
    www.mkdir()
    (www / "sub" / "deeper").mkdir(parents=True)
    (www / "Zoo").mkdir()
    (www / "b.txt").write_bytes(b"x" * 1500)
    (www / "A.txt").write_bytes(b"")
    (www / "c.txt").write_bytes(b"c")
    os.utime(www / "c.txt", (784111777, 784111777))
    (www / ".hidden").touch()
    (www / ".git").mkdir()
    os.mkfifo(www / "fifo")
    (www / "inside").symlink_to("b.txt")
    (www / "out").symlink_to("/etc/passwd")
    (www / "outdir").symlink_to("/etc")
    (www / "dangling").symlink_to("nowhere")
    (www / "loop").symlink_to("loop")
    (www / "hostile").mkdir()
    for name in HOSTILE_FILES:
        (www / "hostile" / os.fsdecode(name)).write_bytes(name)
    (www / "old").mkdir()
    for name, mtime in (("future", 2**55), ("past", -(2**40))):
        (www / "old" / name).touch()
        os.utime(www / "old" / name, (mtime, mtime))
    (www / "indexed").mkdir()
    (www / "indexed" / "index.html").write_bytes(b"<p>index")
    (www / "trapped" / "index.html").mkdir(parents=True)
    return www


@pytest.fixture(scope="module")
def server(www, tmp_path_factory):
    with running_servers(tmp_path_factory.mktemp("log")) as run:
        yield run(python_command("httpd.py", "--port", 0, "-r", www, "--listing")).wait_started()


@pytest.fixture
def client(server, connect):
    return connect(server)


def test_folders_come_first_then_names_whatever_their_case_and_nothing_that_is_not_served(client):
    page = Page(client.get("/").body)
    folders = ["./hostile/", "./indexed/", "./old/", "./sub/", "./trapped/", "./Zoo/"]
    assert list(page.links) == [*folders, "./A.txt", "./b.txt", "./c.txt", "./inside"]
    for target in page.links:
        assert client.get(urljoin("/", target)).status in (200, 404 if "trapped" in target else 200)


def test_sizes_and_dates_are_shown(client):
    rows = {row[0]: row[1:] for row in Page(client.get("/").body).rows}
    assert rows["b.txt"][0] == "1.5 KiB"
    assert rows["inside"][0] == "1.5 KiB"
    assert rows["c.txt"] == ["1 B", "1994-11-06 08:49"]
    assert rows["Zoo/"][0] == ""


def test_each_link_of_hostile_names_leads_to_its_file(client):
    links = Page(client.get("/hostile/").body).links
    bodies = {client.get(urljoin("/hostile/", link)).body for link in links if link != "../"}
    assert bodies == set(HOSTILE_FILES)


def test_the_page_says_what_it_is_and_allows_nothing(client):
    fields = client.get("/").fields
    assert fields["content-type"] == "text/html; charset=utf-8"
    assert fields["content-security-policy"].startswith("default-src 'none'")
    assert "script" not in fields["content-security-policy"]
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["vary"] == "Accept"


@pytest.mark.parametrize(
    ("accepted", "media_type"),
    [
        ("application/json", "application/json"),
        ("application/json, */*;q=0.5", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("text/html, application/json;q=0.5", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("", "text/html; charset=utf-8"),
    ],
)
def test_json_goes_to_those_who_do_not_take_pages(client, accepted, media_type):
    assert client.get("/", f"Accept: {accepted}").fields["content-type"] == media_type


def test_json_has_the_same_entries_in_the_same_order(client):
    told = json.loads(client.get("/", "Accept: application/json").body)
    assert told["truncated"] is False
    names = [entry["name"] + "/" * (entry["type"] == "directory") for entry in told["entries"]]
    assert [f"./{name}" for name in names] == list(Page(client.get("/").body).links)
    assert told["entries"][-2] == {"name": "c.txt", "type": "file", "size": 1, "mtime": 784111777.0}


def test_absurd_dates_do_no_harm(client):
    assert list(Page(client.get("/old/").body).links) == ["../", "./future", "./past"]
    assert json.loads(client.get("/old/", "Accept: application/json").body)["entries"][0]["name"] == "future"


def test_an_index_goes_before_a_listing(client):
    assert client.get("/indexed/").body == b"<p>index"
    assert client.get("/trapped/").status == 404


def test_a_folder_without_its_slash_is_redirected(client):
    for target in ("/sub", "/sub/deeper?x", "//evil.example/../sub"):
        answer = client.get(target)
        assert answer.status == 301
        assert answer.fields["location"][1] != "/"
        assert client.get(answer.fields["location"]).status == 200
    assert client.get("/nowhere").status == 404
    assert client.get("/outdir/").status == client.get("/outdir").status == client.get("/.git/").status == 404


def test_head_tells_how_long_the_page_is(client):
    assert client.get("/", method="HEAD").fields["content-length"] == client.get("/").fields["content-length"]


def test_a_listing_of_a_folder_that_vanishes_and_leads_outside_shows_neither_error_nor_outside(www, server, client):
    """The name is taken for the folder, then it is something else: whatever is read is what was opened."""
    folder, outside = www / "swapped", www.parent / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    done = threading.Event()

    def swap():
        while not done.is_set():
            folder.mkdir()
            folder.rmdir()
            folder.symlink_to(outside)
            folder.unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(3000):
            answer = client.get("/swapped/")
            assert answer.status in (200, 404)
            assert b"secret" not in answer.body
    finally:
        done.set()
        swapper.join()


@pytest.mark.slow
def fill(folder, names):
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    for name in names:
        os.mknod(name, dir_fd=fd)
    os.close(fd)


def test_names_that_are_not_served_do_not_count(tmp_path, serve, connect):
    fill(tmp_path / "dots", [*(f".{number}" for number in range(3000)), *"abcde"])
    client = connect(serve("Files", handler={"root": str(tmp_path), "listing": True}))
    page = Page(client.get("/dots/").body)
    assert list(page.links) == ["../", "./a", "./b", "./c", "./d", "./e"]
    assert "Entries: 5" in page.text
    told = json.loads(client.get("/dots/", "Accept: application/json").body)
    assert (told["truncated"], told["total"]) == (False, 5)


def test_a_large_folder_is_sorted_as_a_whole_and_has_pages(tmp_path, serve, connect):
    names = [f"{number:05}.txt" for number in range(2 * listing.PAGE_LIMIT)]
    fill(tmp_path / "large", names[::-1])
    (tmp_path / "large" / "zoo").mkdir()
    client = connect(serve("Files", handler={"root": str(tmp_path), "listing": True}))
    pages = [Page(client.get("/large/").body)]
    while "Next" in pages[-1].links.values():
        [link] = [link for link, text in pages[-1].links.items() if text == "Next"]
        pages.append(Page(client.get(urljoin("/large/", link)).body))
    shown = [link for page in pages for link in page.links if link.startswith("./")]
    assert shown == ["./zoo/", *(f"./{name}" for name in names)]
    assert [
        f"Entries {first} to {last} of 4001" in page.text
        for page, first, last in zip(pages, (1, 2001, 4001), (2000, 4000, 4001), strict=True)
    ] == [True] * 3
    assert ["Previous" in page.links.values() for page in pages] == [False, True, True]
    assert "2001 are on other pages" in pages[0].text
    told = json.loads(client.get("/large/?page=3", "Accept: application/json").body)
    assert (len(told["entries"]), told["truncated"], told["page"], told["pages"], told["total"]) == (
        1,
        True,
        3,
        3,
        4001,
    )


@pytest.mark.parametrize(
    ("query", "number"),
    [("", 1), ("page=2", 2), ("a=b&page=3&c", 3), ("page=0", 1), ("page=-1", 1), ("page=x", 1), ("page=", 1),
     ("page=" + "9" * 5000, 1), ("page=%32", 2), ("page=\u0662", 1), ("&&;%00", 1)],
)  # fmt: skip
def test_a_senseless_page_is_the_first(query, number):
    assert listing.page_number(f"/?{query}") == number


def test_a_page_behind_the_last_is_the_last(client):
    assert client.get("/?page=999999").body == client.get("/").body


def test_an_entry_that_is_deleted_while_the_folder_is_read_is_left_out(tmp_path):
    fill(tmp_path / "busy", ["kept", "gone"])
    fd = os.open(tmp_path / "busy", os.O_RDONLY)
    try:
        page = listing.read_folder(fd, lambda entry: entry.name == "kept" or os.unlink(tmp_path / "busy/gone") is None)
    finally:
        os.close(fd)
    assert [entry.name for entry in page.entries] == ["kept"]


def test_of_a_huge_folder_only_so_many_entries_are_looked_at_and_the_page_says_so(tmp_path, monkeypatch):
    """The loop stands still meanwhile."""
    monkeypatch.setattr(listing, "FOLDER_LIMIT", 100)
    fill(tmp_path / "huge", map(str, range(1000)))
    looked_at = []
    fd = os.open(tmp_path / "huge", os.O_RDONLY)
    try:
        page = listing.read_folder(fd, lambda entry: looked_at.append(entry.name) or True)
    finally:
        os.close(fd)
    assert len(looked_at) == 101
    assert [entry.name for entry in page.entries] == sorted(looked_at[:100])
    assert "Entries: more than 100" in Page(listing.as_html("/", page)).text
    told = json.loads(listing.as_json(page))
    assert (len(told["entries"]), told["truncated"], told["total"]) == (100, True, 100)
