"""From "module:callable" on the command line to the application, each side with its own modules.

An application's folder comes first on Python's path, as it does for a script. It may have modules of the same names
as those that we, or the standard library for us, import only when they are needed: random.py, html.py. So these are
imported before the folder is on the path, and forgotten again where the application has its own. Only what our
functions import by name cannot be forgotten: a json.py or datetime.py of the application's is not found.
"""

import importlib
import importlib.machinery
import os
import sys

# What our functions import when an option is in use. Not the top of a file: what stands there has been imported by now.
LATE = {
    "application": ("asynchttpd.body", "urllib.parse"),
    "access_log": ("json",),
    "reload": ("asynchttpd.reload",),
    "static": ("asynchttpd.listing", "datetime", "mimetypes"),
    "threads": ("concurrent.futures.thread",),
    "trusted_proxy": ("asynchttpd.proxy", "ipaddress"),
}


class NoApplication(Exception):
    """Nothing that could be called has this name; the text says why."""


def import_late(args):
    """Import what the options in *args* will need, without a look into the current folder.

    Return the names of all modules that have come in.
    """
    loaded, path, folder = set(sys.modules), sys.path, os.getcwd()
    sys.path = [entry for entry in path if os.path.abspath(entry) != folder]
    try:
        for option, names in LATE.items():
            if getattr(args, option):
                for name in names:
                    importlib.import_module(name)
    finally:
        sys.path = path
    return set(sys.modules) - loaded


def load_app(spec, late=frozenset()):
    """Return the application that *spec* names: "module:name", "module:object.name" or "module:factory()".

    "module" alone means "module:application".
    late -- what import_late() has returned
    Raise NoApplication if there is none; an exception inside the module goes on with its traceback.
    """
    module_name, _, expression = spec.partition(":")
    expression = expression or "application"
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
    for name in expression.removesuffix("()").split("."):
        if not hasattr(found, name):
            raise NoApplication(f"{module_name!r} has no {name!r} ({spec})")
        found = getattr(found, name)
    if expression.endswith("()"):
        found = found()
    if not callable(found):
        raise NoApplication(f"{spec} is not callable")
    return found
