"""All that the check and the grader say to a reader, in one table for each language. Anchors: rules.py, docs/lab.md.

A verdict, what the first look has found, says what is wrong and how to mend it. A cause says beside that what has shown
it: either the answer itself ("Seen: ...") or a second request that differs in one point ("Confirmed: ...").
"""

import json
from pathlib import Path

ENGLISH = {
    "headings": {
        "sent": "Sent",
        "got": "Came back",
        "expected": "Expected",
        "rule": "Rule",
        "cause": "Cause",
        "mend": "Mend it",
        "shown": "How sure",
        "exception": "Exception",
        "output": "The server printed last",
    },
    # What the grader writes
    "report": {
        "mark": "{mark:g} of 100 points",
        "ended by": "The check was not run to its end: {reason}.",
        "first": "Mend this first",
        "points": "points",
        "lost": "{points:.1f} points",
        "failed checks": "What failed, by its cause",
        "no cause": "No cause is certain",
        "all passed": "Every check was passed.",
        "not offered": "Not offered",
        "not offered means": "HTTP leaves this to the server; it costs nothing.",
        "not judged": "{count} checks were not judged: mend the above first.",
        "not run": "{count} checks were not run.",
        "index": "Grades",
        "student": "student",
        "marks": "Marks",
        "students": "students",
        "passed": "passed",
        "failed": "failed",
        "seconds": "seconds",
        "causes": "what costs most",
        "similar": "Nearly the same",
        "similar means": "Their programs have the same tokens, whatever the names and comments; look at both.",
        "matrix": "What the class got right and wrong",
        "all": "all of it",
        "part": "in part",
        "none": "nothing of it",
        "missed": "missed by",
    },
    "parts": {
        "files": "Files",
        "answers": "Answers",
        "connections": "Connections and requests",
        "clients": "Clients that behave badly",
        "processes": "Load and processes",
        "wsgi": "WSGI",
    },
    # What each rule asks, in one line. docs/lab.md says more, under the anchor of the same name.
    "rules": {
        "file": "A file is served whole, with status 200",
        "index": "A folder is answered with its index.html",
        "no-index": "A folder without index.html is 404 or 403",
        "missing": "A missing file is 404",
        "nested": "A file in nested folders is served",
        "empty": "An empty file is 200 with Content-Length: 0",
        "escapes": "Percent-escapes in a name are decoded, once, as UTF-8",
        "query": "A query after the path is ignored",
        "slash": "A slash after a file's name is 404",
        "dots": "Dots inside a name are kept",
        "root": "Nothing outside the document root is served",
        "normalize": "Every path is normalised in a moment, however odd",
        "content-type": "Content-Type follows the file's name",
        "content-length": "Content-Length counts the bytes of the body, and nothing follows them",
        "server": "Every answer has a Server field",
        "date": "Every answer has a Date: now, in GMT",
        "last-modified": "Last-Modified, where it is sent, is an HTTP-date that is not in the future",
        "connection": "Connection, where it is sent, says close or keep-alive",
        "head": "HEAD has the head of GET and no body",
        "methods": "A method without a handler is 405",
        "post": "POST to a file is 405 or 400",
        "bytes": "Images arrive byte for byte",
        "large": "A large file arrives whole, also at a slow reader",
        "first-byte": "The first byte of a large file leaves before all of it has been read",
        "keep-alive": "A connection that the server promises to keep open answers the next request",
        "pipelining": "Two requests in one packet are answered in order",
        "close": "A connection ends where the client asks for it",
        "split": "A request in several packets is answered as one",
        "body": "The body of a POST is read, and never taken for a request",
        "malformed": "A malformed request is 400",
        "clients-that-leave": "A client that leaves or resets does no harm to the next",
        "silent-clients": "Clients that say nothing keep nobody waiting",
        "half-requests": "Clients that send half a head keep nobody waiting",
        "slow-readers": "Clients that do not read keep nobody waiting",
        "load": "ab -c 100 sees no failed request, with and without -k",
        "queue": "A hundred clients fit into the listen queue",
        "workers": "-w N gives N worker processes on one socket",
        "output": "A server whose output nobody reads still answers",
        "stop": "Ctrl-C and SIGTERM end every process",
        "restart": "The server starts again at once on the same port",
        "wsgi-hello": "my_app:application answers Hello World",
        "wsgi-headers": "The application's header fields are sent",
        "wsgi-paths": "The application is asked for every path",
        "wsgi-post": "A POST reaches the application",
        "wsgi-head": "HEAD has no body, whatever the application returns",
        "wsgi-again": "Requests that follow each other are all answered",
    },
    # What the first look at the plainest page has found; then nothing else is judged.
    "verdicts": {
        "missing-program": ("There is no {program}", "Hand in a file of that name, beside the others."),
        "does-not-start": ("Ends before it serves", "Start it by hand with the command above; mend what it prints."),
        "does-not-listen": (
            "Does not listen on the port of --port",
            "bind((args.host, args.port)), then listen(); curl http://127.0.0.1:PORT/ must not say 'refused'.",
        ),
        "does-not-answer": (
            "Does not answer at all",
            "Begin with one page: found_terminator() has to end in push() of a whole head and a body.",
        ),
        "ends-at-first-request": (
            "Ends at the first request",
            "An exception leaves the loop and ends the server; it stands in what the server prints.",
        ),
        "same-page": (
            "Answers every request with the same page",
            "The path of the request must decide which file is opened: look at translate_path().",
        ),
        "ignores-root": (
            "Ignores -r: serves the folder it was started in",
            "Hand args.document_root on to where paths are translated.",
        ),
        "serves-no-file": ("Serves no file", "GET /page.html must be 200 with the file from the folder given with -r."),
        "bare-newlines": (
            "Its heads have LF where HTTP has CR LF",
            r"Every line of a head ends with '\r\n'.",
        ),
        "head-without-end": (
            "No client can read its answers: the head has no empty line at its end",
            r"After the last header field comes '\r\n' once more: end_headers().",
        ),
        "never-ends": (
            "No client can see where its answers end",
            "Send Content-Length, and close the connection where the client asks for it.",
        ),
    },
    "causes": {
        # Heads and lengths
        "no-length": (
            "No Content-Length",
            "send_header('Content-Length', size) before end_headers(), also for an empty file and an error.",
            "Seen: the head has neither Content-Length nor Transfer-Encoding.",
        ),
        "keep-alive-without-length": (
            "Keep-alive without Content-Length: the client cannot know where the answer ends, and waits",
            "Send Content-Length, or close the connection after the answer.",
            "Confirmed: the connection stayed open after an answer without a length, while the same request with "
            "'Connection: close' ended.",
        ),
        "length-in-characters": (
            "Content-Length counts characters, not bytes",
            "len(text.encode()), os.path.getsize(path), or read the file with open(path, 'rb').",
            "Seen: the number is that of the characters of a page in UTF-8.",
        ),
        "bytes-after-body": (
            "Bytes follow the body",
            r"Nothing comes after the body: the terminator '\r\n\r\n' ends a head only.",
            "Confirmed: two files of different size were followed by the same bytes.",
        ),
        "missing-field": (
            "{field} is missing",
            "send_header() for it in every answer, before end_headers(): errors are answers, too.",
            "Seen: the head has no such field.",
        ),
        "empty-is-false": (
            "An empty file has no Content-Length",
            "`if length:` and `if body:` are false for an empty file; ask `is not None`.",
            "Confirmed: a file that is not empty has a Content-Length.",
        ),
        "types-of-the-system": (
            "The type comes from the tables of this machine",
            "mimetypes.guess_type() differs from host to host; the lab's nine types fit into a dict.",
            "Seen: the type is the one that mimetypes.guess_type() says here.",
        ),
        "date-local": (
            "Date is in local time",
            "time.gmtime(), or email.utils.formatdate(usegmt=True).",
            "Seen: the server runs in a time zone of its own, and the date is wrong by just that.",
        ),
        "date-stands": (
            "Date never moves",
            "Make the date when an answer is made, not when the program or the class is loaded.",
            "Confirmed: a second request, seconds later, got the same date.",
        ),
        # From the target to the file
        "never-decodes": (
            "The path is never percent-decoded",
            "urllib.parse.unquote(path), once.",
            "Confirmed: GET /%41.txt brought the file named '%41.txt', not 'A.txt'.",
        ),
        "decodes-twice": (
            "The path is decoded twice",
            "unquote() runs on what unquote() has already returned; keep one of them.",
            "Confirmed: GET /%2541.txt brought 'A.txt', not the file named '%41.txt'.",
        ),
        "cut-at-space": (
            "A name is cut at its space",
            "Split the request line first, decode the target afterwards.",
            "Confirmed: GET /space%20in%20name.txt brought the file named 'space'.",
        ),
        "query-in-name": (
            "The query is taken for a part of the file's name",
            "Cut the target at its first '?' before decoding.",
            "Confirmed: without the query the file is served.",
        ),
        "slash-lost": (
            "Normalising removes the slash at the end",
            "Remember whether the path ended with '/' before os.path.normpath() or strip('/').",
            "Seen: the file was served although its name ended with a slash.",
        ),
        "slash-raises": (
            "Opening a name with a slash behind it raises NotADirectoryError",
            "Catch OSError where the file is opened, and answer 404.",
            "Confirmed: without the slash it is 200, and a missing name with a slash is 404.",
        ),
        "dots-cut": (
            "'/.' or '..' is cut out anywhere in the path",
            "Only whole segments '.' and '..' mean anything: split the path at '/'.",
            "Seen: the file came whose name is left when the dots are cut out.",
        ),
        "dots-refused": (
            "Every '..' is refused, also inside a name",
            "Only a whole segment '..' leads upwards: split the path at '/'.",
            "Confirmed: /text.txt is served, and /text..txt, which is there, too, is not.",
        ),
        "root-unchecked": (
            "The path is joined to the root, and nobody looks where it leads",
            "Normalise first, then compare: os.path.realpath(path) must begin with the root and a '/'.",
            "Seen: plain '..' brought a file outside the root.",
        ),
        "root-startswith": (
            "A folder whose name begins like the root's counts as inside",
            "path.startswith(root) is true for 'www-secret' beside 'www'; compare with root + '/'.",
            "Confirmed: plain '..' is refused elsewhere, and only the folder beside the root was served.",
        ),
        "root-join": (
            "Two slashes make an absolute path",
            "os.path.join(root, path) forgets the root when path begins with '/'; strip it first.",
            "Seen: a path after two slashes brought a file outside the root.",
        ),
        "decodes-too-late": (
            "Decoded too late: '..' is looked for before '%2e%2e' has become '..'",
            "First decode, then normalise, then compare with the root.",
            "Confirmed: the same path with plain '..' is refused.",
        ),
        "normalize-hangs": (
            "url_normalize() never returns, and the whole process with it",
            "Split the path at '/', and look at each segment once; a loop over '../' must shorten it each time.",
            "Confirmed: the process computes without end, and a fresh server answers /page.html at once.",
        ),
        # Methods
        "body-on-head": (
            "HEAD sends the body, too",
            "do_HEAD stops after end_headers().",
            "Seen: the body's bytes came behind the head.",
        ),
        "missing-handler": (
            "A method without a handler raises AttributeError",
            "getattr(self, 'do_' + method, None), and 405 where it is None.",
            "Seen: the server printed the AttributeError for do_*.",
        ),
        "unpacks-blindly": (
            "The request line is unpacked without asking whether it has three parts",
            "Catch ValueError, or count the words first; then send_error(400).",
            "Confirmed: a request line with three words is answered.",
        ),
        # Bytes
        "text-mode": (
            "Files are opened in text mode",
            "open(path, 'rb'): bytes that are no text must not be decoded.",
            "Confirmed: plain text arrives, and other bytes are changed as decoding changes them, or bring no answer.",
        ),
        "repr-of-bytes": (
            "The body is str() of bytes",
            "str(b'...') is \"b'...'\"; keep bytes as they are, and encode() what is text.",
            "Seen: the body begins with b' and has escapes in place of its bytes.",
        ),
        "short-send": (
            "What a short send() has left over is never sent",
            "send() returns how many bytes it took: data = data[sent:], or leave it to asynchat's push().",
            "Confirmed: small files arrive whole; the large one ends early, although Content-Length says all.",
        ),
        "sends-again": (
            "After a short send() the whole piece is sent again",
            "Keep only the rest: data = data[sent:].",
            "Seen: after the first bytes came bytes that had been there before.",
        ),
        "reads-first-part": (
            "Only the first part of a file is read",
            "read() until it returns b'', or make a producer whose more() does.",
            "Confirmed: Content-Length says as much as came, and for two large files it is the same number.",
        ),
        "quadratic": (
            "The body is put together with bytes +=, which copies all of it each time",
            "Hand the file out piece by piece (FileProducer), or b''.join() a list.",
            "Confirmed: four times the bytes cost far more than four times the processor time until the first one.",
        ),
        "reads-whole-file": (
            "The whole file is read before its first byte leaves",
            "push_with_producer(FileProducer(file)) reads when the socket can take more. From a slow disk the client "
            "waits for all of the file, and the server holds it in memory for each client.",
            "Seen: the server had read the whole file when the client, which reads nothing more, got its first byte.",
        ),
        # Connections
        "promises-keep-alive": (
            "Promises to keep the connection open, then closes it",
            "Say 'Connection: close' and close, or wait for the next request.",
            "Confirmed: HTTP/1.1 without 'Connection: close' in the answer, and the end came before a second request.",
        ),
        "fails-at-second-request": (
            "The second request on a connection gets no answer",
            "Set back what belongs to one request (terminator, data, state) when its answer is done.",
            "Confirmed: the connection stayed open until the second request came; on another one it is answered.",
        ),
        "close-ignored": (
            "'Connection: close' is not respected",
            "close_when_done() after the answer, if the client says close or speaks HTTP/1.0.",
            "Confirmed: the connection stayed open, and ended when the client left.",
        ),
        "header-case": (
            "Field names are looked up as the client spelled them",
            "Keep fields under name.lower(), and compare values with lower(), too.",
            "Confirmed: 'Connection: close' is respected.",
        ),
        "handle-close": (
            "handle_close() is overridden and closes nothing",
            "It has to call self.close(): asynchat ends connections through it.",
            "Confirmed: the server kept its end of the connection after the client had left.",
        ),
        "pipelined-lost": (
            "What was received after the first request is thrown away with it",
            "Only what belongs to the first request may be taken from the buffer.",
            "Confirmed: the same two requests one after the other are both answered.",
        ),
        "pipelined-mixed": (
            "The second of two requests gets the page of the other",
            "What belongs to a request must not be overwritten by the next while the first is being answered.",
            "Confirmed: the same two requests one after the other get their own pages.",
        ),
        "one-recv": (
            "One recv() is taken for one request",
            "Collect until the terminator has come.",
            "Confirmed: the same request in one packet is answered.",
        ),
        "body-parsed": (
            "The body of a POST is parsed as the next request",
            "Read as many bytes as Content-Length says, before anything else.",
            "Seen: the answer to the request inside the body came back.",
        ),
        # Clients that behave badly
        "ends-when-clients-leave": (
            "A client that leaves or resets ends the server",
            "Catch ConnectionError and empty requests where they happen; handle_error() must not raise.",
            "Confirmed: the server answered before, and its process has ended.",
        ),
        "blocking-read": (
            "Blocking read: the server waits for one client, and all others wait with it",
            "Never wait in recv(): collect what is there, and go back to the loop.",
            "Confirmed: as soon as those clients had left, the same GET was answered.",
        ),
        "blocking-write": (
            "Blocking write: sendall() waits for a client that does not read",
            "push() what fits; the loop sends the rest when the socket can take it.",
            "Confirmed: as soon as those clients had left, the same GET was answered.",
        ),
        # Load and processes
        "fails-alone": (
            "A single client fails, too: load is not the reason",
            "Look at that first.",
            "Confirmed: one curl for the same page failed.",
        ),
        "short-queue": (
            "The number given to listen() is small: about {count}",
            "listen(1024); with listen(5), ab -c 100 waits whole seconds to connect.",
            "Seen: while the server was held still, so many clients could connect.",
        ),
        "socket-not-shared": (
            "Each worker binds the port itself, and all but one fail",
            "bind() and listen() once, before the workers are forked.",
            "Seen: the server printed 'Address already in use'.",
        ),
        "target-called": (
            "Process(target=run()) calls run() at once, in the parent",
            "Hand over the function, without its brackets: Process(target=run).",
            "Seen: the traceback after Ctrl-C goes through that line.",
        ),
        "workers-ignored": (
            "-w is ignored: there is one process, whatever it says",
            "Start args.nworkers processes with multiprocessing.Process or os.fork().",
            "Confirmed: started with another -w, it has the same number of processes.",
        ),
        "workers-doubled": (
            "Twice as many workers as asked for",
            "Each child runs on through the loop that forks: leave it with break, or serve there and exit.",
            "Confirmed: started with another -w, it is twice that number, too.",
        ),
        "orphans": (
            "The parent ends without its workers",
            "Pass the signal on to them, and wait for them: process.terminate(), process.join().",
            "Confirmed: the parent has ended, and the processes that it started have not.",
        ),
        "no-reuse-addr": (
            "No SO_REUSEADDR: after a stop the port is taken for a minute",
            "set_reuse_addr() before bind().",
            "Confirmed: started at once on another port it serves.",
        ),
        "output-blocks": (
            "Prints so much for each request that it stands still when nobody reads it",
            "log.debug() for what is of use only in a search for mistakes.",
            "Confirmed: as soon as its output was read, it went on.",
        ),
        # WSGI
        "wsgi-headers-lost": (
            "start_response() keeps the status and loses the headers",
            "Keep response_headers, and send each with send_header().",
            "Seen: the answer is 200 and has no Content-Type of the application.",
        ),
        "wsgi-looks-for-file": (
            "handle_request() still looks for a file",
            "In async_wsgi.py the application answers, whatever the path.",
            "Confirmed: GET / is answered by the application.",
        ),
        "wsgi-looks-for-method": (
            "handle_request() still looks for do_POST",
            "In async_wsgi.py the application answers, whatever the method.",
            "Confirmed: GET / is answered by the application.",
        ),
    },
}

# The same keys and fields; JSON, as it is read by the grader and by the check, which import in different ways.
RUSSIAN = json.loads(Path(__file__).with_name("russian.json").read_text("utf-8"))
LANGUAGES = {"en": ENGLISH, "ru": RUSSIAN}
# What the check itself words of what it sent, got and expected: the English sentence -> its translation.
SENTENCES = RUSSIAN.pop("sentences")
spoken = "en"


def speak(language):
    """Choose the language of say()."""
    global spoken
    spoken = language


def say(sentence, **values):
    """Return *sentence* in the chosen language, its fields filled in."""
    return (sentence if spoken == "en" else SENTENCES[sentence]).format(**values)


PAGES = {"en": "docs/lab.md", "ru": "docs/lab.ru.md"}


def cause_of(facts, language):
    """Return the sentences of the cause or verdict in *facts* (what, how to mend it, what has shown it), or None."""
    for kind in ("verdict", "cause"):
        if facts.get(kind):
            key, values = facts[kind]
            return [sentence.format(**values) for sentence in LANGUAGES[language][kind + "s"][key]]
    return None


def describe(facts, language):
    """Return what there is to say of a failed check, as lines for the terminal."""
    texts = LANGUAGES[language]
    rule = f"{texts['rules'][facts['rule']]} ({PAGES[language]}#{facts['rule']})"
    lines = [(name, facts[name]) for name in ("sent", "got", "expected")] + [("rule", rule)]
    if cause := cause_of(facts, language):
        lines += zip(("cause", "mend", "shown"), cause, strict=False)
    if facts["exception"]:
        lines += [("exception", facts["exception"])]
    return "\n".join(f"{texts['headings'][name]}: {text}" for name, text in lines)
