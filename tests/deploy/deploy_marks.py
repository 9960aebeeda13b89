"""How property tests of the servers run: the same examples every time, and no judgement of time."""

from hypothesis import HealthCheck, settings

seeded = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
