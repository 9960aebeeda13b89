"""A process that counts as a server's worker does: `python counting_worker.py VERSION`, then commands on stdin."""

from __future__ import annotations

import sys

from deploy.metrics import Metrics


def main() -> None:
    metrics = Metrics()
    metrics.model("made-up", sys.argv[1], "d" * 64)
    metrics.queue(3)
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "request":
            metrics.request("/predict", 200, 0.02)
            metrics.batch(2, 0.01)
        elif command == "model":
            metrics.model("made-up", argument, "e" * 64)
        elif command == "show":
            print(metrics.exposition().decode(), flush=True)
        print("done", flush=True)


if __name__ == "__main__":
    main()
