"""The Open Inference Protocol, version 2, over HTTP: what Triton, KServe and their clients speak."""
