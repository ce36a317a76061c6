"""What measures the project, each a command: `python -m benchmarks.NAME`."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime reports to Microsoft
