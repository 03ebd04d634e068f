"""A small weather station: readings and the units they come in."""

from .readings import Reading, Summary
from .units import UNITS, convert

__all__ = ["Reading", "Summary", "UNITS", "convert"]
