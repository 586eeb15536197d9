"""The contract of a refiner."""

from __future__ import annotations

from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.small_run import trains_in_a_model
from omniflow.testing.trained_checks import TRAINED, driving
from omniflow.testing.trained_part import RefinerPart

CHECKS = (*COMMON, *driving(RefinerPart, TRAINED), *named(trains_in_a_model))
