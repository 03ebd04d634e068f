//! The distribution of tokens per keystroke, a curve per layout, as SVG.
//!
//! ```text
//! x: tokens computed in the foreground, logarithmic      y: share of typed characters that cost no more
//! ```
use super::Row;
use std::fmt::Write;

const COLOURS: [&str; 4] = ["#b0413e", "#c98a1b", "#4a7fb5", "#2e7d4f"];
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 24.0;
const RIGHT: f64 = 150.0;
const BOTTOM: f64 = 48.0;
/// The axis ends here: 10,000 tokens.
const DECADES: f64 = 4.0;

fn x(tokens: f64) -> f64 {
    LEFT + tokens.max(1.0).log10().min(DECADES) / DECADES * (WIDTH - LEFT - RIGHT)
}

fn y(share: f64) -> f64 {
    TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)
}

/// One curve per row.
pub fn svg(rows: &[Row]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    axes(&mut out);
    for (row, colour) in rows.iter().zip(COLOURS.iter().cycle()) {
        let mut values = row.foreground.clone();
        values.sort_by(f64::total_cmp);
        let points: Vec<String> = (0..=200).map(|n| n as f64 / 200.0).map(|q| point(&values, q)).collect();
        let _ = writeln!(out, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>", points.join(" "));
    }
    for (n, (row, colour)) in rows.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let (at, left) = (TOP + 14.0 + 20.0 * n as f64, WIDTH - RIGHT + 12.0);
        let _ = writeln!(out, "<text x=\"{left}\" y=\"{at}\" fill=\"{colour}\">{}: {:.1}</text>", row.name, row.mean());
    }
    out + "</svg>\n"
}

fn point(values: &[f64], share: f64) -> String {
    let last = values.len().saturating_sub(1);
    let value = values.get((last as f64 * share) as usize).copied().unwrap_or(1.0);
    format!("{:.1},{:.1}", x(value), y(share))
}

fn axes(out: &mut String) {
    for decade in 0..=DECADES as i32 {
        let value = 10f64.powi(decade);
        let _ = writeln!(out, "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{1}\" stroke=\"#dddddd\"/>", x(value), HEIGHT - BOTTOM);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">{value}</text>",
            x(value),
            HEIGHT - BOTTOM + 18.0
        );
    }
    for share in [0.0, 0.5, 0.9, 1.0] {
        let _ = writeln!(out, "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#dddddd\"/>", WIDTH - RIGHT, y(share));
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444444\">{:.0} %</text>",
            LEFT - 6.0,
            y(share) + 4.0,
            share * 100.0
        );
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">tokens computed per typed character (mean at the right)</text>",
        HEIGHT - 8.0
    );
}
