//! What is posted: the shapes that chats know, or a person's own template with closed placeholders.
//!
//! A template is JSON before anything is filled in, and values are filled into its strings only: whatever a value
//! contains, the result is JSON of the same shape.

use serde_json::{Value, json};

use super::Notice;

/// A template that is longer is none.
const BYTES_MAX: usize = 16 << 10;
/// A name that is less alike is not proposed.
const ALIKE: f64 = 0.7;

type Field = (&'static str, fn(&Notice) -> String);

/// Every placeholder.
const FIELDS: [Field; 13] = [
    ("title", |notice| notice.title.clone()),
    ("text", |notice| notice.text.clone()),
    ("state", |notice| notice.kind.as_str().to_owned()),
    ("subject", |notice| notice.kind.subject().as_str().to_owned()),
    ("service", |notice| notice.facts.service.clone()),
    ("pod", |notice| notice.facts.pod.clone()),
    ("percent", |notice| notice.facts.percent.clone()),
    ("plan", |notice| notice.facts.plan.clone().unwrap_or_default()),
    ("step", |notice| notice.facts.step.map(|step| step.to_string()).unwrap_or_default()),
    ("steps", |notice| notice.facts.steps.to_string()),
    ("at", |notice| notice.at_ms.to_string()),
    ("promote_url", |notice| notice.promote_url.clone().unwrap_or_default()),
    ("rollback_url", |notice| notice.rollback_url.clone().unwrap_or_default()),
];

/// A person's own JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Value);

impl Template {
    /// Reads and checks it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("has {} bytes, at most {BYTES_MAX}", text.len()));
        }
        let shape: Value = serde_json::from_str(text).map_err(|error| {
            format!("is not JSON ({error}); placeholders stand inside strings, such as \"{{{{title}}}}\"")
        })?;
        if !shape.is_object() {
            return Err("is not a JSON object, such as {\"text\": \"{{title}}\"}".to_owned());
        }
        check(&shape)?;
        Ok(Self(shape))
    }

    fn body(&self, notice: &Notice) -> String {
        fill(&self.0, notice).to_string()
    }
}

/// Every string of it names only placeholders that there are.
fn check(shape: &Value) -> Result<(), String> {
    match shape {
        Value::String(text) => {
            for piece in text.split("{{").skip(1) {
                let Some((name, _)) = piece.split_once("}}") else {
                    return Err("has \"{{\" without \"}}\"".to_owned());
                };
                if !FIELDS.iter().any(|(known, _)| *known == name.trim()) {
                    return Err(unknown(name.trim()));
                }
            }
            Ok(())
        }
        Value::Array(all) => all.iter().try_for_each(check),
        Value::Object(fields) => match fields.keys().find(|name| name.contains("{{")) {
            Some(_) => Err("has a placeholder in a field's name; they stand in values".to_owned()),
            None => fields.values().try_for_each(check),
        },
        _ => Ok(()),
    }
}

fn unknown(name: &str) -> String {
    let score = |known: &str| strsim::jaro_winkler(name, known);
    let nearest = FIELDS.iter().map(|(known, _)| *known).max_by(|a, b| score(a).total_cmp(&score(b)));
    let shown: String = name.chars().take(40).collect();
    match nearest.filter(|known| score(known) >= ALIKE) {
        Some(known) => format!("has the unknown placeholder {{{{{shown}}}}}; did you mean {{{{{known}}}}}?"),
        None => {
            let known: Vec<_> = FIELDS.iter().map(|(known, _)| *known).collect();
            format!("has the unknown placeholder {{{{{shown}}}}}; there are {}", known.join(", "))
        }
    }
}

fn fill(shape: &Value, notice: &Notice) -> Value {
    match shape {
        Value::String(text) => Value::String(filled(text, notice)),
        Value::Array(all) => Value::Array(all.iter().map(|one| fill(one, notice)).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, one)| (name.clone(), fill(one, notice))).collect())
        }
        other => other.clone(),
    }
}

/// One pass: what a value contains is not looked at again.
fn filled(text: &str, notice: &Notice) -> String {
    let mut pieces = text.split("{{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let Some((name, rest)) = piece.split_once("}}") else { continue };
        if let Some((_, of)) = FIELDS.iter().find(|(known, _)| *known == name.trim()) {
            out.push_str(&of(notice));
        }
        out.push_str(rest);
    }
    out
}

/// How a target wants it.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// `text`, with Slack's links.
    Slack,
    /// `content`; nobody is mentioned by it.
    Discord,
    /// An adaptive card, as the Workflows app of Microsoft Teams takes it.
    Teams,
    /// Our own: `docs/notices.md`.
    Json,
    /// A person's own.
    Own(Template),
}

impl Format {
    /// The one of this name.
    ///
    /// # Errors
    /// A sentence with those that there are.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "slack" => Ok(Self::Slack),
            "discord" => Ok(Self::Discord),
            "teams" => Ok(Self::Teams),
            "json" => Ok(Self::Json),
            _ => Err("is not one of slack, discord, teams, json".to_owned()),
        }
    }

    /// The body of the request.
    #[must_use]
    pub fn body(&self, notice: &Notice) -> String {
        match self {
            Self::Slack => slack(notice).to_string(),
            Self::Discord => discord(notice).to_string(),
            Self::Teams => teams(notice).to_string(),
            Self::Json => own(notice).to_string(),
            Self::Own(template) => template.body(notice),
        }
    }
}

fn links(notice: &Notice) -> impl Iterator<Item = (&'static str, &String)> {
    let both = [("Promote", &notice.promote_url), ("Roll back", &notice.rollback_url)];
    both.into_iter().filter_map(|(name, url)| Some((name, url.as_ref()?)))
}

/// The three characters that Slack gives a meaning, so that no name of a plan becomes a mention or a link.
fn slack(notice: &Notice) -> Value {
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut text = format!("*{}*\n{}", plain(&notice.title), plain(&notice.text));
    let ways: Vec<_> = links(notice).map(|(name, url)| format!("<{url}|{name}>")).collect();
    if !ways.is_empty() {
        text = format!("{text}\n{}", ways.join("  "));
    }
    json!({ "text": text, "unfurl_links": false, "unfurl_media": false })
}

fn discord(notice: &Notice) -> Value {
    /// Discord takes 2,000 characters; the links must not be what is cut.
    const TEXT_MAX: usize = 1_000;
    let text: String = notice.text.chars().take(TEXT_MAX).collect();
    let mut content = format!("**{}**\n{text}", notice.title);
    for (name, url) in links(notice) {
        content = format!("{content}\n{name}: <{url}>");
    }
    // Flag 4: links are not unfurled.
    json!({ "content": content, "allowed_mentions": { "parse": [] }, "flags": 4 })
}

fn teams(notice: &Notice) -> Value {
    let block =
        |text: &str, weight| json!({ "type": "TextBlock", "text": text, "weight": weight, "wrap": true });
    let actions: Vec<_> = links(notice)
        .map(|(name, url)| json!({ "type": "Action.OpenUrl", "title": name, "url": url }))
        .collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [block(&notice.title, "bolder"), block(&notice.text, "default")],
        "actions": actions,
    });
    let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "content": card });
    json!({ "type": "message", "attachments": [attachment] })
}

fn own(notice: &Notice) -> Value {
    let facts = &notice.facts;
    json!({
        "v": 1, "at": notice.at_ms, "state": notice.kind.as_str(), "subject": notice.kind.subject().as_str(),
        "title": notice.title, "text": notice.text, "service": facts.service, "pod": facts.pod,
        "percent": facts.percent, "plan": facts.plan, "step": facts.step, "steps": facts.steps,
        "promote_url": notice.promote_url, "rollback_url": notice.rollback_url,
    })
}
