"""Check for the exercise of docs/files.md."""


def test_robots(solution, connect, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "index.html").write_text("page")
    server = solution("-r", root)
    client = connect(server)
    found = client.get("/robots.txt")
    assert (found.status, found.body) == (200, b"User-agent: *\nDisallow: /\n")
    assert found.fields["content-type"].startswith("text/plain")
    head = client.get("/robots.txt", method="HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", "26")
    assert client.get("/").body == b"page"
    assert client.get("/robots.html").status == 404
    (root / "robots.txt").write_text("of its own")
    assert client.get("/robots.txt").body == b"of its own", "the root has a robots.txt, but the answer is another one"
