"""`python -m plate_ocr` is the command `plate-ocr`."""

import os
import sys

from plate_ocr.cli import main


def run() -> None:
    """Run the command, and end the process with its exit code."""
    code = main()
    if code == 130:  # threads that still draw plates would abort the process when Python ends
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
