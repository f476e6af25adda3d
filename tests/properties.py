"""Hypothesis without its stopwatches: how long an example takes says only how busy the machine is."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

__all__ = ["given", "st"]
