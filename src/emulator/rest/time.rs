//! `timestamptz` as PostgreSQL reads and shows it in UTC: ISO 8601 in, microseconds kept, ISO 8601 out.

/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// Reads ISO 8601 with `T` or a blank, with or without seconds, fraction and zone (UTC when absent).
pub(super) fn read(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let rest = rest.trim_start_matches(['T', 't', ' ']);
    let split = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(split)?;
    Some(days * DAY + clock_micros(clock.trim())? - zone_micros(zone)?)
}

/// Shows microseconds since 1970 as `2026-01-02T03:04:05.678901+00:00`; a fraction of zero is left out.
pub(super) fn show(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (year, month, day) = civil_from_days(days);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let mut out = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction != 0 {
        out.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    out.push_str("+00:00");
    out
}

/// `2026-01-02T03:04:05.678Z`: the form of `commit_timestamp`.
pub(in super::super) fn commit(micros: i64) -> String {
    let whole = show(micros.div_euclid(1_000_000) * 1_000_000);
    let seconds = whole.trim_end_matches("+00:00");
    format!("{seconds}.{:03}Z", micros.rem_euclid(1_000_000) / 1_000)
}

fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn clock_micros(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let mut parts = text.split(':');
    let (hours, minutes) = (number(parts.next()?)?, number(parts.next()?)?);
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(text) => match text.split_once('.') {
            None => (number(text)?, 0),
            Some((seconds, fraction)) => (number(seconds)?, micros_of(fraction)?),
        },
    };
    let fine = parts.next().is_none() && hours < 24 && minutes < 60 && seconds <= 60;
    fine.then(|| ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
}

/// Six digits count; the seventh rounds.
fn micros_of(fraction: &str) -> Option<i64> {
    let seven = number(format!("{fraction:0<7}").get(..7)?)?;
    number(fraction)?;
    Some((seven + 5) / 10)
}

fn zone_micros(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None | Some(b'Z' | b'z') => return (zone.len() <= 1).then_some(0),
        Some(b'-') => -1,
        _ => 1,
    };
    let digits: String = zone.get(1..)?.chars().filter(|letter| *letter != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        _ => return None,
    };
    (hours < 16 && minutes < 60).then(|| sign * (hours * 60 + minutes) * 60_000_000)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: years begin in March, so the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_are_read_and_shown_as_postgresql_does() {
        for (given, shown) in [
            ("2026-01-02T03:04:05.678901+00:00", "2026-01-02T03:04:05.678901+00:00"),
            ("2026-01-02 03:04:05.5+02", "2026-01-02T01:04:05.5+00:00"),
            ("2026-01-02T03:04Z", "2026-01-02T03:04:00+00:00"),
            ("2024-02-29", "2024-02-29T00:00:00+00:00"),
            ("1969-12-31T23:59:59.9999999-0130", "1970-01-01T01:30:00+00:00"),
        ] {
            assert_eq!(read(given).map(show).as_deref(), Some(shown), "{given}");
        }
        for bad in ["", "yesterday", "2026-02-29", "2026-13-01", "2026-01-02T25:00", "2026-01-02T03:04:05+xx"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(commit(1_234_567), "1970-01-01T00:00:01.234Z");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(micros in 0_i64..4_000_000_000_000_000) {
            prop_assert_eq!(read(&show(micros)), Some(micros));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = read(&text).map(show);
        }
    }
}
