//! Writes the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, except when the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Figures, family after family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; samples follow. A family appears once.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One figure of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.line("", labels, &number(value));
    }

    /// One figure of the family that is a count. Counts stay exact.
    pub fn whole(&mut self, labels: &[(&str, &str)], value: impl TryInto<u64>) {
        self.line("", labels, &value.try_into().unwrap_or(0).to_string());
    }

    /// One histogram of the family: how many were at most as large as each bound, how many there are, and their sum.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        bounds: &[f64],
        cumulative: &[u64],
        count: u64,
        sum: f64,
    ) {
        for (bound, below) in bounds.iter().zip(cumulative) {
            let bound = number(*bound);
            self.line("_bucket", &[labels, &[("le", bound.as_str())]].concat(), &below.to_string());
        }
        self.line("_bucket", &[labels, &[("le", "+Inf")]].concat(), &count.to_string());
        self.line("_sum", labels, &number(sum));
        self.line("_count", labels, &count.to_string());
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: &str) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{name}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format() {
        let mut text = Exposition::default();
        text.family("a_total", Kind::Counter, "So many.");
        text.whole(&[], 3u64);
        text.whole(&[("x", "a\"b\\c\nd"), ("y", "")], u64::MAX);
        text.family("b_seconds", Kind::Histogram, "So long.");
        text.histogram(&[("s", "run")], &[0.001, 5.0], &[1, 2], 3, 7.25);
        text.family("c", Kind::Gauge, "So much.");
        text.sample(&[], f64::INFINITY);
        let expected = r#"# HELP a_total So many.
# TYPE a_total counter
a_total 3
a_total{x="a\"b\\c\nd",y=""} 18446744073709551615
# HELP b_seconds So long.
# TYPE b_seconds histogram
b_seconds_bucket{s="run",le="0.001"} 1
b_seconds_bucket{s="run",le="5"} 2
b_seconds_bucket{s="run",le="+Inf"} 3
b_seconds_sum{s="run"} 7.25
b_seconds_count{s="run"} 3
# HELP c So much.
# TYPE c gauge
c +Inf
"#;
        assert_eq!(text.into_text(), expected);
    }
}
