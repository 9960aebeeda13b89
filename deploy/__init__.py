"""What serves a release: ONNX Runtime alone, never torch, Prefect, DVC or Great Expectations."""
