//! Floats in the short form Erlang prints: the shortest digits that read back, with an exponent when that is shorter.
//! `1e3` becomes `1.0e3` and `100.0` stays, as in recording 02.

/// Appends `value`; it must be finite.
pub(super) fn write(value: f64, out: &mut String) {
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let mantissa = mantissa.strip_prefix('-').map_or(mantissa, |rest| {
        out.push('-');
        rest
    });
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if digits == "0" {
        out.push_str("0.0");
        return;
    }
    // The decimal point stands after `place` digits; negative places mean zeros before the first digit.
    let place = exponent.parse::<i32>().unwrap_or(0).saturating_add(1);
    place_point(&digits, place, out);
}

fn place_point(digits: &str, place: i32, out: &mut String) {
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if place > 0 && place < length {
        let (whole, rest) = digits.split_at(usize::try_from(place).unwrap_or(0));
        out.push_str(whole);
        out.push('.');
        out.push_str(rest);
        return;
    }
    let exponent = (place - 1).to_string();
    let point = if length == 1 { 2 } else { 1 };
    let exponent_cost = i32::try_from(exponent.len()).unwrap_or(i32::MAX) + 1 + point;
    if place <= 0 {
        if place == 0 || 2 - place < exponent_cost {
            out.push_str("0.");
            (0..-place).for_each(|_| out.push('0'));
            out.push_str(digits);
            return;
        }
    } else if place - length + 2 <= exponent_cost {
        out.push_str(digits);
        (0..place - length).for_each(|_| out.push('0'));
        out.push_str(".0");
        return;
    }
    let (first, rest) = digits.split_at(1);
    out.push_str(first);
    out.push('.');
    out.push_str(if rest.is_empty() { "0" } else { rest });
    out.push('e');
    out.push_str(&exponent);
}
