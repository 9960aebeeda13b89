"""CleanVision over a folder, all of its checks; run by an environment that has it. Stands alone.

    python -m venv /elsewhere && /elsewhere/bin/pip install cleanvision==0.3.7
    /elsewhere/bin/python benchmarks/cleanvision_scan.py FOLDER [--jobs N]

Prints one JSON object: images, what was found by check, CleanVision's version.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--jobs", type=int, default=None, help="default: CleanVision's own choice")
    arguments = parser.parse_args()
    from cleanvision import Imagelab  # type: ignore[import-not-found]

    lab = Imagelab(data_path=arguments.folder)
    lab.find_issues(n_jobs=arguments.jobs, verbose=False)
    found = {row["issue_type"]: int(row["num_images"]) for row in lab.issue_summary.to_dict("records")}
    print("\n" + json.dumps({"images": len(lab.issues), "found": found, "version": version("cleanvision")}))


if __name__ == "__main__":
    main()
