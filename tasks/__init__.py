"""What each stage does: plain Python that knows neither Prefect nor DVC."""

import os

# ONNX Runtime from 1.29 on sends events and a device id to its maker from Linux, too, unless this stands in the
# environment before it is first imported; every module that imports it lies below this package.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
