"""ladder/rung10_files.py as it stands."""

import runpy
import sys
from pathlib import Path

LADDER = Path(__file__).parents[3] / "ladder"
sys.path.insert(0, str(LADDER))
runpy.run_path(str(LADDER / "rung10_files.py"), run_name="__main__")
