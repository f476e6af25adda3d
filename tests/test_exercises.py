"""What a student meets who has an exercise checked: `python -m pytest tests/exercises -k NAME --solution FILE`."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

EXERCISES = ROOT / "tests" / "exercises"
NAMES = re.findall(r"^def (test_\w+)", "".join(path.read_text() for path in EXERCISES.glob("test_*.py")), re.M)


def test_name_chooses_one_exercise():
    assert [(one, other) for one in NAMES for other in NAMES if one in other and one != other] == []
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("no_such_file.py", "there is no file no_such_file.py"),
        (
            EXERCISES / "solutions" / "walk_number.py",
            "walk_number.py is the model answer of another exercise; -k has chosen asyncio_limit",
        ),
    ],
    ids=["missing", "another"],
)
def test_file_that_cannot_be_the_answer_is_one_sentence(file, sentence):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises", "-k", "test_limit"]
    run = subprocess.run([*command, "--solution", file], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert run.stderr.strip() == f"ERROR: --solution: {sentence}"
