"""Write docs/options.md from the parsers of both programs, so that the page cannot differ from --help.

python docs/make_options.py
"""

import argparse
import re
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import async_wsgi  # noqa: E402
import httpd  # noqa: E402
from asynchttpd import parser  # noqa: E402

PAGE = ROOT / "docs" / "options.md"

TOP = """\
# The options

`httpd.py` serves a folder; `async_wsgi.py module:callable` serves an application. Both take the options below, and
`--help` lists them, too; `--version` says in one line which version of asynchttpd, Python and the system runs. This
page is made from the same source, by `python docs/make_options.py`.

You can also set an option in the environment: `--max-body` is `ASYNCHTTPD_MAX_BODY`. An option without a value takes 1
or 0, and several values stand on a line each. Or write arguments to a file, one on a line, and name it as `@FILE`. The
command line wins over the environment.

Bad usage gives one line on standard error and exit status 2. A server that cannot start says why and exits with 1. One
that you stop, with Ctrl-C or SIGTERM, exits with 0. [signals.md](signals.md) tells what the other signals do.
"""

BOTTOM = "\nNext: [signals.md](signals.md), what each signal does.\n"


def parser_of(program):
    """Return the parser whose parse_args() the *program* calls."""
    with mock.patch.object(parser.Parser, "print_help", autospec=True) as print_help:
        try:
            program.parse_args(["--help"])
        except SystemExit:
            return print_help.call_args.args[0]


def option_groups(parser):
    """Return {title: its options} of a parser, without those that only show something and exit."""
    # argparse has no public way to list them.
    groups = {group.title: group._group_actions for group in parser._action_groups}
    return {
        title: [action for action in actions if action.option_strings and action.default is not argparse.SUPPRESS]
        for title, actions in groups.items()
    }


def row(action):
    """Return the line of the table for one option."""
    choices = action.choices and "{" + ",".join(action.choices) + "}"
    value = "" if action.nargs == 0 else f" {action.metavar or choices or action.dest.upper()}"
    names = ", ".join(f"`{name}{value}`" for name in action.option_strings)
    meaning, default = re.fullmatch(r"(.*?)(?: \(default: (.*)\))?", action.help).groups("")
    default = default % {"default": action.default}
    if default and " " not in default:
        default = f"`{default}`"
    meaning = re.sub(r"([|*_<`])", r"\\\1", meaning)
    return f"| {names} | {default} | {meaning} |\n"


def table(title, actions):
    head = f"\n## {title[0].upper()}{title[1:]}\n\n| option | default | meaning |\n|---|---|---|\n"
    return head + "".join(row(action) for action in actions)


def page():
    """Return the page as text."""
    both = option_groups(parser_of(httpd))
    shared = {name for actions in both.values() for action in actions for name in action.option_strings}
    every = [action for actions in option_groups(parser_of(async_wsgi)).values() for action in actions]
    both["only `async_wsgi.py`"] = [action for action in every if not shared.intersection(action.option_strings)]
    return TOP + "".join(table(title, actions) for title, actions in both.items() if actions) + BOTTOM


if __name__ == "__main__":
    PAGE.write_text(page())
