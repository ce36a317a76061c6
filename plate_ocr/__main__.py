"""`python -m plate_ocr` is the command `plate-ocr`."""

import sys

from plate_ocr.cli import main

if __name__ == "__main__":
    sys.exit(main())
