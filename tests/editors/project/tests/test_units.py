"""Tests of station.units."""

from station.units import UNITS, convert


def test_celsius_to_kelvin():
    assert convert(0.0, "celsius", "kelvin") == 273.15
    assert convert(20.0, "celsius", "kelvin") == 293.15


def test_kelvin_to_celsius():
    assert convert(273.15, "kelvin", "celsius") == 0.0
    assert convert(293.15, "kelvin", "celsius") == 20.0


def test_celsius_to_fahrenheit():
    assert convert(0.0, "celsius", "fahrenheit") == 32.0
    assert convert(100.0, "celsius", "fahrenheit") == 212.0


def test_fahrenheit_to_celsius():
    assert convert(32.0, "fahrenheit", "celsius") == 0.0
    assert convert(212.0, "fahrenheit", "celsius") == 100.0


def test_hectopascal_to_bar():
    assert convert(1000.0, "hectopascal", "bar") == 1.0
    assert convert(2000.0, "hectopascal", "bar") == 2.0


def test_same_unit():
    assert convert(1.0, "bar", "bar") == 1.0
    assert convert(1.0, "knots", "knots") == 1.0


def test_all_units_have_a_symbol():
    for name, symbol in UNITS.items():
        assert name
        assert symbol
