"""What the item table must fulfil; the only place that imports Great Expectations and pandas."""

import os

os.environ["GX_ANALYTICS_ENABLED"] = "false"
"""Read when Great Expectations is imported, by the versions that send usage events."""
