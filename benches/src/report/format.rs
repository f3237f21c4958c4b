//! Numbers as people read them: three digits that count, and a unit that fits.

/// Three significant digits, and k, M or G: `312 k`.
pub(crate) fn si(value: f64) -> String {
    for (factor, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        // What rounds to a thousand of the smaller unit is one of the larger.
        if value.abs() >= factor * 0.9995 {
            return format!("{} {suffix}", three_digits(value / factor));
        }
    }
    three_digits(value)
}

/// Three significant digits: `1.23`, `12.3`, `123`, `0.00123`.
pub(crate) fn three_digits(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        size if size == 0.0 || size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.0995 => 2,
        size => (2.0 - size.log10().floor()).clamp(0.0, 9.0) as usize,
    };
    format!("{value:.digits$}")
}

/// A number at a tick of an axis, without zeros that say nothing: `1.50 M` becomes `1.5 M`.
pub(crate) fn tick(text: &str) -> String {
    let (number, unit) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let short = number.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if number.contains('.') { short } else { number })
}

/// A time given in microseconds: `787 ns`, `2.61 µs`, `7.70 ms`.
pub(crate) fn micros(micros: f64) -> String {
    let (value, unit) = match micros {
        m if m < 0.9995 => (m * 1e3, "ns"),
        m if m < 999.5 => (m, "µs"),
        m if m < 999.5e3 => (m / 1e3, "ms"),
        m => (m / 1e6, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A number of bytes: `636 MB`.
pub(crate) fn bytes(bytes: f64) -> String {
    let text = si(bytes);
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        format!("{text} B")
    } else {
        format!("{text}B")
    }
}

/// Bytes in MiB, without the unit.
pub(crate) fn mib(bytes: f64) -> String {
    three_digits(bytes / f64::from(1 << 20))
}

/// How often one thing holds the other: `1.92×`.
pub(crate) fn ratio(ratio: f64) -> String {
    format!("{}×", if ratio >= 0.0995 { three_digits(ratio) } else { format!("{ratio:.3}") })
}

/// A change as a fraction of the old value: `+12.3 %`.
pub(crate) fn percent(change: f64) -> String {
    let percent = change * 100.0;
    let digits = usize::from(percent.abs() < 99.95);
    format!("{percent:+.digits$} %").replace('-', "−")
}

/// The unit in which a rate of `unit` is shown, and how many of them one is: megabytes are shown as
/// bytes, so that [`si`] finds the prefix.
pub(crate) fn base_unit(unit: &str) -> (f64, &str) {
    match unit {
        "MB" => (1e6, "B"),
        "MiB" => (f64::from(1 << 20), "B"),
        unit => (1.0, unit),
    }
}

/// A rate without its unit: `312 k`; of megabytes `1.20 G`.
pub(crate) fn rate(rate: f64, unit: &str) -> String {
    si(rate * base_unit(unit).0)
}

/// A rate and its unit: `1.20 GB/s`, but `312 k op/s`.
pub(crate) fn rate_with_unit(value: f64, unit: &str) -> String {
    let (rate, unit) = (rate(value, unit), base_unit(unit).1);
    let close = unit == "B" && rate.ends_with(char::is_alphabetic);
    format!("{rate}{}{unit}/s", if close { "" } else { " " })
}

/// A length of time: `16 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn length(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 if seconds < 10.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Seconds since 1970 as a date and time of day: `2026-11-21 11:24 UTC`.
pub(crate) fn utc(seconds: u64) -> String {
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's `civil_from_days`: eras of 400 years whose years begin in March.
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second % 3600 / 60)
}

/// `text` as it stands in HTML and SVG, in elements and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// `1 round`, `3 rounds`.
pub(crate) fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_fitting_unit() {
        let cases = [
            (0.0, "0"),
            (0.001_234, "0.00123"),
            (0.1, "0.10"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (99.96, "100"),
            (312.4, "312"),
            (999.6, "1.00 k"),
            (312_400.0, "312 k"),
            (999_600.0, "1.00 M"),
            (48.7e6, "48.7 M"),
            (1.2e9, "1.20 G"),
        ];
        for (value, expected) in cases {
            assert_eq!(si(value), expected);
        }
        assert_eq!(["1.50 M", "10.0 µs", "100", "0"].map(tick), ["1.5 M", "10 µs", "100", "0"]);
        assert_eq!(micros(0.787), "787 ns");
        assert_eq!(micros(2.6054), "2.61 µs");
        assert_eq!(micros(999.7), "1.00 ms");
        assert_eq!(micros(7_700.479), "7.70 ms");
        assert_eq!(micros(2.5e6), "2.50 s");
        assert_eq!(bytes(636_477_440.0), "636 MB");
        assert_eq!(bytes(130.2), "130 B");
        assert_eq!(rate(312.0, "MB"), "312 M");
        assert_eq!(rate_with_unit(1200.0, "MB"), "1.20 GB/s");
        assert_eq!(rate_with_unit(12.0, "entry"), "12.0 entry/s");
        assert_eq!(ratio(1.916), "1.92×");
        assert_eq!(ratio(0.0123), "0.012×");
        assert_eq!(percent(-0.2), "−20.0 %");
        assert_eq!(percent(1.234), "+123 %");
    }

    #[test]
    fn times_are_those_of_a_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_262_240), "2026-11-21 11:57 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00 UTC");
        assert_eq!(length(9.96), "10.0 s");
        assert_eq!(length(200.0), "3 min 20 s");
        assert_eq!(length(7_500.0), "2 h 5 min");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape(r#"a<b & "c" > 'd'"#), "a&lt;b &amp; &quot;c&quot; &gt; &#39;d&#39;");
    }
}
