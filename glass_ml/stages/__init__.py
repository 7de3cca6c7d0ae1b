"""What dvc.yaml calls: load the configuration, call the library, write outputs, log."""

import sys
from collections.abc import Callable
from typing import Any

from glass_ml.errors import InputError


def run_stage(stage: Callable[[str], Any]) -> None:
    """Do a stage for the system that the command line names; input at fault is one line on stderr and status 2."""
    try:
        stage(sys.argv[1])
    except InputError as error:
        print(f"glass-ml: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
