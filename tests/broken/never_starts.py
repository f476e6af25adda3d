"""Does not even begin to listen."""

import no_such_module  # noqa: F401
