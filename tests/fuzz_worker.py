"""Reads a folder of damaged images in a process of its own: `python fuzz_worker.py FOLDER`.

Good plates stand among them. Prints JSON: what was read, and the memory it took above a clean run.
"""

import json
import resource
import sys
from pathlib import Path

from conftest import PROJECT

from plate_ocr.plates.images import ImageError
from plate_ocr.reading.reader import PlateReader

EVERY = 10  # damaged images between two good ones


def peak():
    """Most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder):
    good = sorted((PROJECT / "data" / "test").glob("*.png"))
    reader = PlateReader(backend="onnx")
    for _ in reader.stream(good * 10):
        pass
    clean = peak()
    sources = []
    for number, path in enumerate(sorted(folder.iterdir())):
        if number % EVERY == 0:
            sources.append(good[number // EVERY % len(good)])
        sources.append(path)
    found = {"sources": len(sources), "good": 0, "lost": 0, "unreadable": 0, "of_several_lines": []}
    for path, reading in zip(sources, reader.stream(sources), strict=True):
        readable = not isinstance(reading, ImageError)
        if path.parent != folder:
            found["good"] += 1
            found["lost"] += not (readable and reading.text == path.stem)
        elif not readable:
            found["unreadable"] += 1
            if "\n" in str(reading):
                found["of_several_lines"].append(str(reading))
    print(json.dumps(found | {"megabytes": peak() - clean}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
