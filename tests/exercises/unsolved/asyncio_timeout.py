"""docs/files_asyncio.py as it stands."""

import runpy
import sys
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
sys.path.insert(0, str(DOCS))
runpy.run_path(str(DOCS / "files_asyncio.py"), run_name="__main__")
