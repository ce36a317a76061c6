"""Where fonts and weights lie: inside an installed package, else at the top of the checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def find(name: str) -> Path:
    """The path of a top-level file or folder of the project, such as `fonts`."""
    installed = PACKAGE / "resources" / name
    return installed if installed.exists() else PACKAGE.parent / name
