"""Virtual environments for what must not share ours: other engines, generators, Keras versions."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parent.parent
CACHE = PROJECT / ".cache"
RESULTS = PROJECT / "results"


class EnvironmentFailed(RuntimeError):
    """An environment cannot be made, or what runs in it failed; the message is the reason."""


def install(
    folder: Path, packages: Sequence[str], options: Sequence[str] = (), debian: Sequence[str] = ()
) -> Path:
    """Make an environment, unless it is there with exactly these packages; its interpreter.

    `options` are those of `pip install`. The files of the `debian` packages are unpacked into the
    folder. Raises `EnvironmentFailed` if a package is not available.
    """
    python, ready = folder / "bin" / "python", folder / "ready.json"
    wanted = json.dumps([*packages, *debian])
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", folder])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *options, *packages])
    for name in debian:
        run(["apt-get", "download", name], cwd=folder)
    for package in folder.glob("*.deb"):
        run(["dpkg", "-x", package, folder])
    ready.write_text(wanted, encoding="utf-8")
    return python


def run(command: Sequence[str | Path], **options) -> str:
    """The standard output of a command; `EnvironmentFailed` if it fails."""
    arguments = list(map(str, command))
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    except OSError as error:
        raise EnvironmentFailed(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise EnvironmentFailed(last_error(done.stderr))
    return done.stdout


def npm_files(package: str) -> dict[str, bytes]:
    """The files of an npm package, such as `@fontsource/lato@5.3.0`, by name."""
    with tempfile.TemporaryDirectory() as folder:
        run(["npm", "pack", package], cwd=folder)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            members = {file.name.removeprefix("package/"): file for file in tar if file.isfile()}
            return {name: tar.extractfile(file).read() for name, file in members.items()}


def last_error(stderr: str) -> str:
    """The last error that a program printed, without addresses and without local paths."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|E|[\w.]*Error)\b", line)]
    line = (errors or lines or ["no output"])[-1]
    return re.sub(r"\S+://\S+", "...", line).replace(f"{PROJECT}/", "")
