//! The station's sensors and how their values are written.

mod table;

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensor {
    Temperature,
    Humidity,
    Pressure,
    WindSpeed,
    WindDirection,
    Rain,
}

impl Sensor {
    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Sensor::Temperature => "temperature",
            Sensor::Humidity => "humidity",
            Sensor::Pressure => "pressure",
            Sensor::WindSpeed => "wind speed",
            Sensor::WindDirection => "wind direction",
            Sensor::Rain => "rain",
        }
    }

    /// The unit behind the value.
    pub fn unit(self) -> &'static str {
        match self {
            Sensor::Temperature => "°C",
            Sensor::Humidity => "%",
            Sensor::Pressure => "hPa",
            Sensor::WindSpeed => "m/s",
            Sensor::WindDirection => "°",
            Sensor::Rain => "mm",
        }
    }

    /// Digits after the point.
    pub fn digits(self) -> usize {
        match self {
            Sensor::Temperature => 1,
            Sensor::Humidity => 0,
            Sensor::Pressure => 1,
            Sensor::WindSpeed => 1,
            Sensor::WindDirection => 0,
            Sensor::Rain => 2,
        }
    }

    /// Reads the name in the log.
    pub fn parse(name: &str) -> Option<Sensor> {
        match name {
            "temperature" => Some(Sensor::Temperature),
            "humidity" => Some(Sensor::Humidity),
            "pressure" => Some(Sensor::Pressure),
            "wind speed" => Some(Sensor::WindSpeed),
            "wind direction" => Some(Sensor::WindDirection),
            "rain" => Some(Sensor::Rain),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(Sensor::parse("temperature"), Some(Sensor::Temperature));
        assert_eq!(Sensor::parse("humidity"), Some(Sensor::Humidity));
        assert_eq!(Sensor::parse("pressure"), Some(Sensor::Pressure));
        assert_eq!(Sensor::parse("rain"), Some(Sensor::Rain));
    }

    #[test]
    fn names_that_are_none() {
        assert_eq!(Sensor::parse(""), None);
        assert_eq!(Sensor::parse("snow"), None);
    }
}
