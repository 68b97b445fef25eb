//! Elements of SVG as text.
//!
//! Coordinates have one decimal; what stands in them is never from outside, and names are escaped.

use std::fmt::{self, Write};

/// A drawing that grows.
pub(super) struct Drawing {
    out: String,
}

/// How a text stands at its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Text as XML has it. Control characters, which XML does not allow, become spaces.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\u{fffe}' | '\u{ffff}' => f.write_char(' ')?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Writing to a string cannot fail.
macro_rules! put {
    ($to:expr, $($rest:tt)*) => { writeln!($to, $($rest)*).expect("a string takes everything") };
}

impl Drawing {
    /// An empty sheet, white: it is read in dark viewers too.
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let mut out = String::new();
        put!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\" font-size=\"13\" \
             fill=\"#222\">"
        );
        put!(out, "<title>{}</title>", Escaped(title));
        put!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>");
        Self { out }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, style: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = Escaped(text);
        put!(self.out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{style}>{text}</text>");
    }

    /// A text that reads upwards.
    pub(super) fn upright(&mut self, x: f64, y: f64, text: &str) {
        let text = Escaped(text);
        put!(
            self.out,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{text}</text>"
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        put!(self.out, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" {style}/>");
    }

    pub(super) fn square(&mut self, x: f64, y: f64, side: f64, fill: &str) {
        put!(
            self.out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"{fill}\"/>"
        );
    }

    /// A path through points; nothing where there are none. Points on one level are one stroke.
    pub(super) fn path(&mut self, points: impl IntoIterator<Item = (f64, f64)>, closed: bool, style: &str) {
        let mut path = String::new();
        let mut last: Option<(String, String)> = None;
        for (x, y) in points {
            let point = (format!("{x:.1}"), format!("{y:.1}"));
            let step = match &last {
                None => format!("M{} {}", point.0, point.1),
                Some(last) if *last == point => continue,
                Some((_, y)) if *y == point.1 => format!("H{}", point.0),
                Some((x, _)) if *x == point.0 => format!("V{}", point.1),
                Some(_) => format!("L{} {}", point.0, point.1),
            };
            path += &step;
            last = Some(point);
        }
        if last.is_some() {
            put!(self.out, "<path d=\"{path}{}\" {style}/>", if closed { "Z" } else { "" });
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.out += "</svg>\n";
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_text() {
        let name = "<a href='x'>&\"\u{1}\u{ffff}é";
        assert_eq!(Escaped(name).to_string(), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;  é");
    }

    #[test]
    fn level_points_are_one_stroke() {
        let mut drawing = Drawing::new(10.0, 10.0, "");
        drawing.path([(0.0, 1.0), (0.0, 1.0), (2.0, 1.0), (2.0, 3.0), (4.0, 5.0)], true, "fill=\"none\"");
        assert!(drawing.finish().contains("<path d=\"M0.0 1.0H2.0V3.0L4.0 5.0Z\" fill=\"none\"/>"));
    }
}
