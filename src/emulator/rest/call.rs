//! One request read: table or function, filters, order, range, selection, preferences and body.
//! What PostgREST refuses before it asks the database is refused here.

use super::super::connect::header;
use super::super::http::HttpRequest;
use super::super::json::Json;
use super::error::RestError;
use super::filter::{self, Path, Tree};
use super::schema::split;
use std::collections::{BTreeMap, BTreeSet};

/// Where PostgREST is behind Supabase's gateway.
pub(in super::super) const PREFIX: &str = "/rest/v1";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Verb {
    Read,
    Insert,
    Update,
    Delete,
    /// A function.
    Run,
}

/// A request that can be carried out.
#[derive(Debug, Clone)]
pub(in super::super) struct Call {
    pub verb: Verb,
    pub schema: String,
    /// Table or function.
    pub name: String,
    pub filter: Tree,
    pub order: Vec<Order>,
    pub offset: u64,
    pub limit: Option<u64>,
    /// Nothing: every column.
    pub select: Vec<Item>,
    pub columns: Option<Vec<String>>,
    pub on_conflict: Option<Vec<String>>,
    pub prefer: Prefer,
    /// `Accept: application/vnd.pgrst.object+json`.
    pub one: bool,
    pub head: bool,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub(in super::super) struct Order {
    pub path: Path,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Debug, Clone)]
pub(in super::super) struct Item {
    pub path: Path,
    /// The member it comes under.
    pub name: String,
    /// `*`.
    pub all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Returns {
    Minimal,
    Headers,
    Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Resolution {
    Ignore,
    Merge,
}

/// `Prefer`, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Prefer {
    pub returns: Option<Returns>,
    pub resolution: Option<Resolution>,
    pub count: Option<&'static str>,
    pub missing_default: bool,
}

/// A body of rows.
#[derive(Clone, Default)]
pub(in super::super) struct Body {
    /// As it came; PostgreSQL reads this.
    pub text: String,
    pub rows: Vec<BTreeMap<String, Json>>,
    /// An array came, not one object.
    pub many: bool,
    /// Columns named.
    pub keys: BTreeSet<String>,
}

/// Shows no content.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// `PGRST1nn`.
    pub(in super::super) fn read(request: &HttpRequest) -> Result<Call, RestError> {
        let path = request.path.strip_prefix(PREFIX).unwrap_or(&request.path).trim_matches('/');
        let (name, run) = match path.strip_prefix("rpc/") {
            Some(function) => (function, true),
            None => (path, false),
        };
        if name.is_empty() || name.contains('/') || path.contains("%00") || request.query.contains("%00") {
            return Err(RestError::new("PGRST125", "Invalid path specified in request URL"));
        }
        let verb = match (request.method.as_str(), run) {
            ("GET" | "HEAD" | "POST", true) => Verb::Run,
            ("GET" | "HEAD", false) => Verb::Read,
            ("POST", false) => Verb::Insert,
            ("PATCH", false) => Verb::Update,
            ("DELETE", false) => Verb::Delete,
            (method, true) => {
                return Err(RestError::new("PGRST101", format!("Cannot use the {method} method on RPC")));
            }
            (method, false) => {
                return Err(RestError::new("PGRST117", format!("Unsupported HTTP method: {method}")));
            }
        };
        let profile = if matches!(request.method.as_str(), "GET" | "HEAD") {
            "accept-profile"
        } else {
            "content-profile"
        };
        let accept = header(&request.headers, "accept").unwrap_or("*/*");
        let one = accept.contains("application/vnd.pgrst.object");
        if !one && !["json", "*/*", "application/*"].iter().any(|known| accept.contains(known)) {
            let message = format!("None of these media types are available: {accept}");
            return Err(RestError::new("PGRST107", message));
        }
        let mut call = Call {
            verb,
            schema: header(&request.headers, profile).unwrap_or("public").to_owned(),
            name: decoded(name),
            filter: Tree::All(Vec::new()),
            order: Vec::new(),
            offset: 0,
            limit: None,
            select: Vec::new(),
            columns: None,
            on_conflict: None,
            prefer: Prefer::read(request),
            one,
            head: request.method == "HEAD",
            body: Body::default(),
        };
        call.query(request)?;
        if matches!(verb, Verb::Insert | Verb::Update) || (run && request.method == "POST") {
            call.body = Body::read(request, verb, call.columns.as_ref())?;
        }
        Ok(call)
    }

    fn query(&mut self, request: &HttpRequest) -> Result<(), RestError> {
        let mut conditions = Vec::new();
        let mut arguments = BTreeMap::new();
        for (key, text) in url::form_urlencoded::parse(request.query.as_bytes()) {
            match key.as_ref() {
                "apikey" => {}
                "select" => self.select = read_select(&text),
                "order" => self.order = read_order(&text)?,
                "limit" => self.limit = Some(number("limit", &text)?),
                "offset" => self.offset = number("offset", &text)?,
                "columns" => self.columns = Some(filter::items(&text)),
                "on_conflict" => self.on_conflict = Some(filter::items(&text)),
                "or" => conditions.push(filter::read_tree(&text, true, 0)?),
                "and" => conditions.push(filter::read_tree(&text, false, 0)?),
                "not.or" => conditions.push(Tree::Not(Box::new(filter::read_tree(&text, true, 0)?))),
                "not.and" => conditions.push(Tree::Not(Box::new(filter::read_tree(&text, false, 0)?))),
                _ if self.verb == Verb::Run && request.method != "POST" => {
                    arguments.insert(key.into_owned(), Json::text(&text));
                }
                _ => conditions.push(filter::read(&key, &text)?),
            }
        }
        self.filter = Tree::All(conditions);
        if self.verb == Verb::Run {
            self.body = Body {
                text: Json::Map(arguments.clone()).encode(),
                keys: arguments.keys().cloned().collect(),
                rows: vec![arguments],
                many: false,
            };
        }
        if let Some(range) = header(&request.headers, "range").filter(|_| self.verb == Verb::Read) {
            self.range(range)?;
        }
        Ok(())
    }

    /// `Range: 0-9`, beside `limit` and `offset`.
    fn range(&mut self, text: &str) -> Result<(), RestError> {
        let text = text.trim().trim_start_matches("items=");
        let Some((from, to)) = text.split_once('-') else { return Ok(()) };
        let Ok(from) = from.trim().parse::<u64>() else { return Ok(()) };
        self.offset = self.offset.max(from);
        let Ok(to) = to.trim().parse::<u64>() else { return Ok(()) };
        if to < from {
            let details =
                "The lower boundary must be lower than or equal to the upper boundary in the Range header.";
            return Err(RestError::new("PGRST103", "Requested range not satisfiable").details(details));
        }
        let rows = to.saturating_sub(from).saturating_add(1);
        self.limit = Some(self.limit.map_or(rows, |limit| limit.min(rows)));
        Ok(())
    }

    /// An update of no columns, or an insert of no rows: PostgREST does not ask the database then.
    pub(in super::super) fn changes_nothing(&self) -> bool {
        match self.verb {
            Verb::Insert => self.body.rows.is_empty(),
            Verb::Update => self.body.keys.is_empty(),
            _ => false,
        }
    }

    /// Whether rows come back.
    pub(super) fn wants_rows(&self) -> bool {
        self.verb == Verb::Read || self.prefer.returns == Some(Returns::Rows)
    }
}

impl Prefer {
    fn read(request: &HttpRequest) -> Prefer {
        let mut prefer = Prefer::default();
        let lines = request.headers.iter().filter(|(name, _)| name == "prefer");
        for word in lines.flat_map(|(_, value)| value.split(',')).map(str::trim) {
            match word {
                "return=minimal" => prefer.returns = Some(Returns::Minimal),
                "return=headers-only" => prefer.returns = Some(Returns::Headers),
                "return=representation" => prefer.returns = Some(Returns::Rows),
                "resolution=ignore-duplicates" => prefer.resolution = Some(Resolution::Ignore),
                "resolution=merge-duplicates" => prefer.resolution = Some(Resolution::Merge),
                "count=exact" => prefer.count = Some("count=exact"),
                "count=planned" => prefer.count = Some("count=planned"),
                "count=estimated" => prefer.count = Some("count=estimated"),
                "missing=default" => prefer.missing_default = true,
                _ => {}
            }
        }
        prefer
    }
}

impl Body {
    fn read(request: &HttpRequest, verb: Verb, columns: Option<&Vec<String>>) -> Result<Body, RestError> {
        let kind = header(&request.headers, "content-type").unwrap_or("application/json");
        if !kind.starts_with("application/json") && !kind.starts_with("application/vnd.pgrst") {
            return Err(RestError::new("PGRST102", format!("Content-Type not acceptable: {kind}")));
        }
        let bad = || RestError::new("PGRST102", "Empty or invalid json");
        let text = std::str::from_utf8(&request.body).map_err(|_| bad())?;
        let text = if verb == Verb::Run && text.is_empty() { "{}" } else { text };
        let (rows, many) = match Json::parse(text).map_err(|_| bad())? {
            Json::Map(map) => (vec![map], false),
            Json::List(items) => {
                let row = |item| match item {
                    Json::Map(map) => Ok(map),
                    _ => Err(RestError::new("PGRST102", "All object keys must match")),
                };
                (items.into_iter().map(row).collect::<Result<Vec<_>, _>>()?, true)
            }
            _ => return Err(bad()),
        };
        let keys: BTreeSet<String> = match columns {
            Some(columns) => columns.iter().cloned().collect(),
            None => rows.first().map(|row| row.keys().cloned().collect()).unwrap_or_default(),
        };
        if columns.is_none() && rows.iter().any(|row| !row.keys().eq(keys.iter())) {
            return Err(RestError::new("PGRST102", "All object keys must match"));
        }
        Ok(Body { text: text.to_owned(), rows, many, keys })
    }
}

fn number(part: &str, text: &str) -> Result<u64, RestError> {
    if text.starts_with('-') && text.parse::<i64>().is_ok() {
        let details = "Limit should be greater than or equal to zero.";
        return Err(RestError::new("PGRST103", "Requested range not satisfiable").details(details));
    }
    text.parse().map_err(|_| RestError::query(part, text))
}

/// `a,alias:b->>c,*`; casts (`a::text`) are read and left out.
fn read_select(text: &str) -> Vec<Item> {
    let item = |item: &str| {
        let item = item.trim();
        let bare = item.rsplit_once("::").map_or(item, |(bare, _)| bare);
        let (alias, path) = match bare.split_once(':') {
            Some((alias, path)) => (Some(alias), path),
            None => (None, bare),
        };
        let path = Path::read(path);
        let last = path.steps.last().map_or(&path.column, |(key, _)| key).clone();
        Item { name: alias.map_or(last, str::to_owned), all: path.column == "*", path }
    };
    split(text, ',').into_iter().filter(|part| !part.trim().is_empty()).map(item).collect()
}

fn read_order(text: &str) -> Result<Vec<Order>, RestError> {
    let mut all = Vec::new();
    for term in split(text, ',') {
        let mut words = split(term, '.').into_iter();
        let path = Path::read(words.next().unwrap_or_default());
        let (mut descending, mut nulls) = (false, None);
        for word in words {
            match word {
                "asc" => descending = false,
                "desc" => descending = true,
                "nullsfirst" => nulls = Some(true),
                "nullslast" => nulls = Some(false),
                _ => return Err(RestError::query("order", text)),
            }
        }
        all.push(Order { path, descending, nulls_first: nulls.unwrap_or(descending) });
    }
    Ok(all)
}

/// Percent-decodes one path segment.
fn decoded(segment: &str) -> String {
    let segment = segment.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    url::form_urlencoded::parse(segment.as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}
