"""docs/files_asyncore.py as it stands."""

import runpy
import sys
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
sys.path.insert(0, str(DOCS))
runpy.run_path(str(DOCS / "files_asyncore.py"), run_name="__main__")
