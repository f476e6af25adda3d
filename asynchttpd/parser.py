"""argparse with two additions: values from the environment, and errors in one line."""

import argparse
import functools
import os
import sys

from asynchttpd import logs

SWITCHES = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False, "": False}
EPILOG = """You can also set an option in the environment (--max-body as ASYNCHTTPD_MAX_BODY, several values on a line
each), or write arguments to a file, one on a line, and name it as @FILE. The command line wins."""


class Repeated(argparse.Action):
    """An option that may be repeated. Its first value on the command line replaces the default."""

    def __init__(self, option_strings, dest, default=(), **options):
        super().__init__(option_strings, dest, default=default, **options)

    def __call__(self, parser, namespace, value, option_string=None):
        earlier = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(() if earlier is self.default else earlier), value])


class Parser(argparse.ArgumentParser):
    """An argument parser that also reads the environment, and reports an error in one line."""

    def __init__(self, description):
        # By default argparse loads shutil, and with it three compression libraries, to learn the terminal's width.
        formatter = functools.partial(argparse.HelpFormatter, width=100)
        super().__init__(
            program_name(), None, description, EPILOG, formatter_class=formatter, fromfile_prefix_chars="@"
        )
        self.register("type", None, some_text)

    def parse_args(self, args=None, namespace=None):
        self.take_environment(os.environ)
        return super().parse_args(args, namespace)

    def take_environment(self, environ):
        """Take defaults from *environ*: ASYNCHTTPD_WORKERS=4 stands for --workers 4."""
        for action in self._actions:  # argparse has no public name for them
            name = variable_of(action)
            if name in environ:
                try:
                    action.default = default_of(action, environ[name])
                except (argparse.ArgumentTypeError, ValueError) as error:
                    self.error(f"{name}: {error}")

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (try --help)\n")


def some_text(text):
    """The type of options that have no other. Without it --user "$NAME" would leave us root where NAME is not set."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def variable_of(action):
    """Return the name of an option in the environment, "" for arguments that have none."""
    if not action.option_strings or action.dest in ("help", "version"):
        return ""
    return "ASYNCHTTPD_" + action.option_strings[-1].lstrip("-").replace("-", "_").upper()


def default_of(action, text):
    convert = action.type or some_text
    if isinstance(action, Repeated):
        return [convert(line) for line in text.split("\n") if line]
    if action.nargs == 0:  # a switch
        if text.lower() not in SWITCHES:
            raise ValueError(f"not 1 or 0: {text!r}")
        return SWITCHES[text.lower()]
    value = convert(text)
    if action.choices and value not in action.choices:
        raise ValueError(f"not one of {', '.join(action.choices)}: {text!r}")
    return value


def program_name():
    """Return what the user has typed to start us, such as "python -m httpd"; argparse does so from Python 3.14 on."""
    module = sys.modules["__main__"].__spec__
    if module is None:
        return os.path.basename(sys.argv[0])
    return f"{os.path.basename(sys.executable)} -m {module.name.removesuffix('.__main__')}"


def fail(status, message):
    """Exit with *status* and one line on standard error; it stands in the log, too, if that is another file."""
    print(f"{program_name()}: {message}", file=sys.stderr)
    if logs.is_file():
        logs.log.critical("%s", message)
    sys.exit(status)
