//! The range of each sensor. This file is indented with tabs.

/// The least and the greatest value that a sensor can give.
pub struct Range {
	pub name: &'static str,
	pub least: f64,
	pub greatest: f64,
}

impl Range {
	/// A range by name and ends.
	pub const fn new(name: &'static str, least: f64, greatest: f64) -> Range {
		Range { name, least, greatest }
	}

	/// Whether the sensor can have given this value.
	pub fn contains(&self, value: f64) -> bool {
		self.least <= value && value <= self.greatest
	}
}

/// All ranges.
pub fn ranges() -> Vec<Range> {
	vec![
		Range::new("temperature", -40.0, 60.0),
		Range::new("humidity", 0.0, 100.0),
		Range::new("pressure", 870.0, 1085.0),
		Range::new("wind speed", 0.0, 75.0),
		Range::new("wind direction", 0.0, 360.0),
		Range::new("rain", 0.0, 200.0),
	]
}

/// Adds the ends of all ranges: a checksum for the log.
pub fn checksum(ranges: &[Range]) -> f64 {
	let mut sum = 0.0;
	for range in ranges {
		sum += range.least;
		sum += range.greatest;
	}
	sum
}
