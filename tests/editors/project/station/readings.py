"""What the station measured, and summaries of it."""

from dataclasses import dataclass, field

CALIBRATION = [
    [0.0, 0.1, 0.2, 0.3, 0.4],
    [1.0, 1.1, 1.2, 1.3, 1.4],
    [2.0, 2.1, 2.2, 2.3, 2.4],
    [3.0, 3.1, 3.2, 3.3, 3.4],
    [4.0, 4.1, 4.2, 4.3, 4.4],
]


@dataclass
class Reading:
    """One measurement of all sensors."""

    temperature: float = 0.0
    humidity: float = 0.0
    pressure: float = 0.0
    wind_speed: float = 0.0
    wind_direction: float = 0.0
    rain: float = 0.0
    labels: list[str] = field(default_factory=list)


class Summary:
    """Means over some readings."""

    def __init__(self, readings: list[Reading]) -> None:
        self.readings = readings
        self.count = len(readings)
        self.temperature = 0.0
        self.humidity = 0.0
        self.pressure = 0.0
        self.wind_speed = 0.0

    def mean_temperature(self) -> float:
        """Return the mean temperature."""
        return sum(reading.temperature for reading in self.readings) / self.count

    def mean_humidity(self) -> float:
        """Return the mean humidity."""
        return sum(reading.humidity for reading in self.readings) / self.count

    def mean_pressure(self) -> float:
        """Return the mean pressure."""
        return sum(reading.pressure for reading in self.readings) / self.count

    def mean_wind_speed(self) -> float:
        """Return the mean wind speed."""
        return sum(reading.wind_speed for reading in self.readings) / self.count

    def print_all(self) -> None:
        """Print all means."""
        print("temperature", self.mean_temperature())
        print("humidity", self.mean_humidity())
        print("pressure", self.mean_pressure())
        print("wind speed", self.mean_wind_speed())
