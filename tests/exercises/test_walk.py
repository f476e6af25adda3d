"""Check for the exercise of docs/walk.md."""


def test_number(solution, connect):
    server = solution("-r", "www")
    client = connect(server)
    paths = ("/", "/missing", "/index.html", "/")
    assert [client.get(path).fields.get("x-request") for path in paths] == ["1", "2", "3", "4"]
    assert connect(server).get("/").fields.get("x-request") == "1", "another connection counts for itself"
    assert client.get("/").fields.get("x-request") == "5"
