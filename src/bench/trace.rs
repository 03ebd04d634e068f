//! Typing traces, in the format of josephg/editing-traces.
//!
//! ```text
//! { "startContent": "", "endContent": "…", "txns": [ { "time": "2020-09-11T05:29:10.000Z", "patches": [[38057, 0, "c"]] } ] }
//! ```
//! Positions count characters. A patch that inserts one character and deletes none is a typed key. Times stand to the
//! second, so keys with equal times are spread at eight a second.
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// Seconds between keys that have the same time in the trace.
const SPREAD: f64 = 0.125;

#[derive(Debug, Deserialize)]
struct File {
    #[serde(rename = "startContent")]
    start: String,
    #[serde(rename = "endContent", default)]
    end: Option<String>,
    txns: Vec<Txn>,
}

#[derive(Debug, Deserialize)]
struct Txn {
    time: String,
    patches: Vec<(usize, usize, String)>,
}

/// One edit: at character `at`, `deleted` characters go and `inserted` come.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub at: usize,
    pub deleted: usize,
    pub inserted: String,
    /// Seconds since some beginning.
    pub time: f64,
}

impl Step {
    /// Whether this is one key typed.
    pub fn typed(&self) -> bool {
        self.deleted == 0 && self.inserted.chars().count() == 1
    }
}

/// A session: a text and what was done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub start: String,
    pub end: Option<String>,
    pub steps: Vec<Step>,
}

impl Trace {
    /// Reads `FILE.json` or `FILE.json.gz`.
    ///
    /// # Errors
    /// Names the file, and what is wrong in it.
    pub fn read(path: &Path) -> Result<Trace> {
        let name = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
        let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).with_context(|| format!("{name} is not whole gzip"))?;
            plain
        } else {
            bytes
        };
        Trace::parse(&bytes).with_context(|| format!("{name} is no typing trace (format of josephg/editing-traces)"))
    }

    pub fn parse(bytes: &[u8]) -> Result<Trace> {
        let file: File = serde_json::from_slice(bytes)?;
        let mut steps = Vec::new();
        let mut clock = 0.0;
        let mut length = file.start.chars().count();
        for txn in &file.txns {
            let stated = seconds(&txn.time).with_context(|| format!("time {:?}", txn.time))?;
            for (at, deleted, inserted) in &txn.patches {
                if at.checked_add(*deleted).is_none_or(|end| end > length) {
                    bail!("a patch at {at} lies past the end of the text ({length} characters)");
                }
                clock = if steps.is_empty() { stated } else { stated.max(clock + SPREAD) };
                length = length - deleted + inserted.chars().count();
                steps.push(Step { at: *at, deleted: *deleted, inserted: inserted.clone(), time: clock });
            }
        }
        Ok(Trace { start: file.start, end: file.end, steps })
    }
}

/// Seconds since 1970 of `2020-09-11T05:29:10.000Z`.
fn seconds(time: &str) -> Option<f64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days from the civil calendar (Howard Hinnant's algorithm): years begin in March, eras have 400 years.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds: f64 = time.get(17..)?.trim_end_matches('Z').parse().ok()?;
    Some((days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60) as f64 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(seconds("1970-01-01T00:00:00.000Z"), Some(0.0));
        assert_eq!(seconds("2020-09-11T05:29:10.500Z"), Some(1_599_802_150.5));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn equal_times_are_spread() {
        let json = r#"{"startContent":"é","txns":[{"time":"2020-01-01T00:00:00.000Z","patches":[[1,0,"a"],[2,0,"b"]]},
            {"time":"2020-01-01T00:00:00.000Z","patches":[[0,1,""]]}]}"#;
        let trace = Trace::parse(json.as_bytes()).expect("a trace");
        let times: Vec<f64> = trace.steps.iter().map(|s| s.time - trace.steps[0].time).collect();
        assert_eq!(times, [0.0, 0.125, 0.25]);
        assert_eq!(trace.steps.iter().map(Step::typed).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn a_patch_past_the_end_is_an_error() {
        let json = r#"{"startContent":"","txns":[{"time":"2020-01-01T00:00:00.000Z","patches":[[1,0,"a"]]}]}"#;
        assert!(Trace::parse(json.as_bytes()).unwrap_err().to_string().contains("past the end"));
    }
}
