"""An error as a page for browsers, as a line of text for others.

The page works without script, on a phone, and in dark mode. It shows nothing of what the client has sent.
"""

FIELDS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Vary": "Accept",
}

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{code} {phrase}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ display: grid; place-content: center; min-height: 100vh; margin: 0; padding: 1rem; box-sizing: border-box;
       font: 1.125rem/1.5 system-ui, sans-serif; text-align: center }}
b {{ display: block; font-size: clamp(5rem, 25vw, 12rem); line-height: 1; letter-spacing: -.05em; opacity: .2 }}
h1 {{ margin: 0; font-size: 1.5rem }}
p {{ margin: .5rem 0 2rem; opacity: .75 }}
a {{ color: inherit; text-underline-offset: .25em }}
</style>
</head>
<body>
<main>
<b aria-hidden="true">{code}</b>
<h1>{phrase}</h1>
<p>{text}.</p>
<a href="/">To the front page</a>
</main>
</body>
</html>
"""

# In place of those texts of the standard library that speak to programmers.
TEXTS = {
    403: "The server is not allowed to read this file",
    404: "There is nothing at this address. It may be misspelt, or the page has moved",
    500: "Something went wrong on this server. Its log says what",
    503: "This server has too much to do at the moment. Please try again in a few seconds",
}


def answer(code: int, phrase: str, text: str, accept: str) -> tuple[dict[str, str], bytes]:
    """Return (fields, body) for status *code*, which is called *phrase* and explained by *text*.

    accept -- the client's Accept: browsers get a page, others a line of text
    """
    if "text/html" in accept:
        return FIELDS, PAGE.format(code=code, phrase=phrase, text=TEXTS.get(code, text)).encode("utf-8")
    return {"Content-Type": "text/plain", "Vary": "Accept"}, f"{code} {phrase}: {text}\n".encode()
