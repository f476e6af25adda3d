"""From "module:callable" on the command line to the application."""

import importlib
import os
import sys


def load_app(spec):
    """Return the application that *spec* names: "module:name", "module:object.name" or "module:factory()".

    "module" alone means "module:application".
    Exit with status 2 and one line if there is none; an exception inside the module goes on with its traceback.
    """
    module_name, _, expression = spec.partition(":")
    expression = expression or "application"
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not (module_name + ".").startswith(f"{error.name}."):
            raise  # the module is there; one that it imports is not
        exit_with(f"no module named {error.name!r}")
    for name in expression.removesuffix("()").split("."):
        if not hasattr(found, name):
            exit_with(f"{module_name!r} has no {name!r} ({spec})")
        found = getattr(found, name)
    if expression.endswith("()"):
        found = found()
    if not callable(found):
        exit_with(f"{spec} is not callable")
    return found


def exit_with(message):
    print(f"async_wsgi.py: {message}", file=sys.stderr)
    sys.exit(2)
