"""What each stage does: plain Python that knows neither Prefect nor DVC."""
