"""Which submissions are nearly the same: their tokens are compared, whatever the names, comments and layout."""

from itertools import combinations

from pygments.lexers import PythonLexer
from pygments.token import Comment, Literal, Name, Text
from rapidfuzz.distance import Indel

NEARLY = 0.9  # share of tokens that two submissions have in common, in order
PROGRAMS = "httpd.py", "async_wsgi.py"


def tokens(folder):
    """Return the tokens of the programs in *folder*: keywords and signs as they are, names and texts by their kind."""
    stream = []
    for program in PROGRAMS:
        path = folder / program
        if path.is_file():
            stream += map(normalized, PythonLexer().get_tokens(path.read_text("utf-8", "replace")))
    return [token for token in stream if token]


def normalized(token):
    kind, text = token
    if kind in Comment or kind in Text or kind in Literal.String.Doc:
        return ""
    return str(kind) if kind in Name or kind in Literal else text


def nearly_the_same(folders):
    """Yield (folder, folder, share) for each pair of *folders* whose programs are nearly the same."""
    streams = {folder: stream for folder in folders if len(stream := tokens(folder)) > 50}
    for one, other in combinations(streams, 2):
        share = Indel.normalized_similarity(streams[one], streams[other], score_cutoff=NEARLY)
        if share >= NEARLY:
            yield one, other, share
