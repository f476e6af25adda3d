"""From "module:callable" on the command line to the application, each side with its own modules.

An application's folder comes first on Python's path, as a script's does. Its modules may have the same names as those
that we, or the standard library for us, import only when they are needed: random.py, html.py. So we import these before
the folder is on the path, and forget them again where the application has its own. Only those that our functions import
by name cannot be forgotten: the application cannot have a json.py or datetime.py of its own.
"""

import importlib
import importlib.machinery
import os
import re
import sys

SPEC = re.compile(r"([\w-]+(?:\.[\w-]+)*)(?::(\w+(?:\.\w+)*)(\(.*\))?)?")  # a file's name may have dashes

# What our functions import when an option is in use. Imports at the top of a file have happened already.
LATE = {
    "application": ("asynchttpd.body", "ctypes"),
    "access_log": ("json",),
    "reload": ("asynchttpd.reload",),
    "static": ("asynchttpd.listing", "datetime", "mimetypes"),
    "status": ("asynchttpd.status", "asynchttpd.statuspage", "json"),
    "threads": ("queue",),
    "tls_cert": ("asynchttpd.tls",),
    "trusted_proxy": ("asynchttpd.proxy", "ipaddress"),
}


class NoApplication(Exception):
    """There is no application of this name; the text says why."""


def import_late(args, folder):
    """Import what the options in *args* will need, but not from *folder*, the current one.

    Return the names of all modules that this has loaded.
    """
    loaded, path = set(sys.modules), sys.path
    sys.path = [entry for entry in path if os.path.abspath(entry) != folder]
    try:
        for option, names in LATE.items():
            if getattr(args, option):
                for name in names:
                    importlib.import_module(name)
    finally:
        sys.path = path
    return set(sys.modules) - loaded


def parse_spec(spec):
    """Return (module, dotted name in it, arguments to call that with) from *spec*, without importing anything.

    Such as "module:name", "module:object.name", or "module:factory('a', size=1)" with literals as arguments. "module"
    alone means "module:application". The arguments are a pair (positional, by name); None: it is not to be called.
    Raise ValueError.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"not a module:callable: {spec!r}")
    module, name, call = match.groups()
    return module, name or "application", call and parse_arguments(call)


def parse_arguments(text):
    """Return ([1], {"a": 2}) from "(1, a=2)"; raise ValueError for what is no call with literals."""
    if text == "()":
        return [], {}
    import ast

    try:
        call = ast.parse("f" + text, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError("more than a call")
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if None in named:
            raise ValueError("** in a call")
        return [ast.literal_eval(argument) for argument in call.args], named
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"not a module:callable: the arguments {text} must be literals") from error


def load_app(spec, late=frozenset()):
    """Return the application that *spec* names (see parse_spec).

    late -- what import_late() has returned
    Raise NoApplication if there is none; an exception inside the module goes on with its traceback.
    """
    module_name, dotted_name, arguments = parse_spec(spec)
    folder = os.getcwd()
    for name in late - {name.partition(".")[0] for names in LATE.values() for name in names}:
        if "." not in name and importlib.machinery.PathFinder.find_spec(name, [folder]):
            del sys.modules[name]  # we keep ours, the application gets its own
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not (module_name + ".").startswith(f"{error.name}."):
            raise  # the module is there; one that it imports is not
        raise NoApplication(f"no module named {error.name!r}") from None
    for name in dotted_name.split("."):
        if not hasattr(found, name):
            raise NoApplication(f"{module_name!r} has no {name!r} ({spec})")
        found = getattr(found, name)
    if arguments is not None:
        positional, named = arguments
        found = found(*positional, **named)
    if not callable(found):
        raise NoApplication(f"{spec} is not callable")
    return found
