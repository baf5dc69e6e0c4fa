//! PostgreSQL's array literals (documentation, "Array Input and Output Syntax") as the JSON arrays that Realtime tells.

/// Deeper than PostgreSQL's six dimensions is no array of its own.
const DEPTH_MAX: usize = 6;

/// `{1,NULL,"a b",{2}}` as a JSON array, each element by `show`, which gets nothing for NULL. `None` if it is none.
pub(in super::super) fn show_array(text: &str, show: &dyn Fn(Option<&str>) -> String) -> Option<String> {
    // Bounds stand before an array that does not begin at one: `[0:1]={a,b}`.
    let body = match text.strip_prefix('[') {
        Some(rest) => rest.split_once('=')?.1,
        None => text,
    };
    let mut rest = body.chars().peekable();
    let mut out = String::new();
    list(&mut rest, show, &mut out, DEPTH_MAX)?;
    rest.next().is_none().then_some(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn list(
    rest: &mut Chars<'_>,
    show: &dyn Fn(Option<&str>) -> String,
    out: &mut String,
    depth: usize,
) -> Option<()> {
    rest.next_if_eq(&'{').filter(|_| depth > 0)?;
    out.push('[');
    if rest.next_if_eq(&'}').is_some() {
        out.push(']');
        return Some(());
    }
    loop {
        blanks(rest);
        match rest.peek()? {
            '{' => list(rest, show, out, depth - 1)?,
            '"' => out.push_str(&show(Some(&quoted(rest)?))),
            _ => {
                let word = plain(rest)?;
                out.push_str(&show(Some(word.as_str()).filter(|word| !word.eq_ignore_ascii_case("null"))));
            }
        }
        blanks(rest);
        match rest.next()? {
            ',' => out.push_str(", "),
            '}' => {
                out.push(']');
                return Some(());
            }
            _ => return None,
        }
    }
}

/// Outside of quotes they mean nothing; PostgreSQL itself writes none.
fn blanks(rest: &mut Chars<'_>) {
    while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
}

fn quoted(rest: &mut Chars<'_>) -> Option<String> {
    rest.next();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(rest.next()?),
            other => text.push(other),
        }
    }
}

fn plain(rest: &mut Chars<'_>) -> Option<String> {
    let mut text = String::new();
    while let Some(next) = rest.next_if(|next| !matches!(next, ',' | '}')) {
        text.push(if next == '\\' { rest.next().unwrap_or(next) } else { next });
    }
    text.truncate(text.trim_end().len());
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Option<String> {
        show_array(text, &|element| element.map_or("null".to_owned(), |text| format!("<{text}>")))
    }

    #[test]
    fn literals_become_lists() {
        for (text, list) in [
            ("{}", "[]"),
            ("{1,2}", "[<1>, <2>]"),
            ("{NULL,\"NULL\",\"a \\\"b\\\\\"}", "[null, <NULL>, <a \"b\\>]"),
            ("{{a,b},{c,d}}", "[[<a>, <b>], [<c>, <d>]]"),
            ("[0:1]={a,b}", "[<a>, <b>]"),
            ("{ a b , \" c \" }", "[<a b>, < c >]"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(list), "{text}");
        }
        for text in ["", "{", "{1", "1", "{1}}", "{1,}", "{,1}", "{\"a}", "{{{{{{{1}}}}}}}"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}\\[\\]\",=a1\\\\]{0,40}") {
            shown(&text);
        }
    }
}
