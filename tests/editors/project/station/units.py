"""Units of the station's sensors.

>>> convert(20.0, "celsius", "kelvin")
293.15
"""

UNITS = {
    "celsius": "°C",
    "fahrenheit": "°F",
    "kelvin": "K",
    "hectopascal": "hPa",
    "bar": "bar",
    "meters_per_second": "m/s",
    "knots": "kn",
}


def celsius_to_kelvin(value: float) -> float:
    """Return a temperature in kelvin."""
    return value + 273.15


def kelvin_to_celsius(value: float) -> float:
    """Return a temperature in celsius."""
    return value - 273.15


def celsius_to_fahrenheit(value: float) -> float:
    """Return a temperature in fahrenheit."""
    return value * 9.0 / 5.0 + 32.0


def fahrenheit_to_celsius(value: float) -> float:
    """Return a temperature in celsius."""
    return (value - 32.0) * 5.0 / 9.0


def hectopascal_to_bar(value: float) -> float:
    """Return a pressure in bar."""
    return value / 1000.0


def bar_to_hectopascal(value: float) -> float:
    """Return a pressure in hectopascal."""
    return value * 1000.0


def knots_to_meters_per_second(value: float) -> float:
    """Return a speed in meters per second."""
    return value * 1852.0 / 3600.0


CONVERSIONS = {
    ("celsius", "kelvin"): celsius_to_kelvin,
    ("kelvin", "celsius"): kelvin_to_celsius,
    ("celsius", "fahrenheit"): celsius_to_fahrenheit,
    ("fahrenheit", "celsius"): fahrenheit_to_celsius,
    ("hectopascal", "bar"): hectopascal_to_bar,
    ("bar", "hectopascal"): bar_to_hectopascal,
    ("knots", "meters_per_second"): knots_to_meters_per_second,
}


def convert(value: float, source: str, target: str) -> float:
    """Convert a value from one unit to another."""
    if source == target:
        return value
    function = CONVERSIONS.get((source, target))
    if function is None:
        raise ValueError(f"no conversion from {source} to {target}")
    return function(value)
