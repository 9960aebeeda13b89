"""What the item table must fulfil; the only place that imports Great Expectations and pandas."""

import os

os.environ["GX_ANALYTICS_ENABLED"] = "false"
"""Great Expectations reads it when it is imported: the data never leave the machine."""
