//! `/rest/v1` on a real PostgreSQL: a few connections, one transaction a request, nothing left behind in a session.
//! A connection whose request was cut short is dropped, not used again.

use super::super::http::HttpRequest;
use super::super::machine::HttpAnswer;
use super::super::rest::Caller;
use super::super::rest::answer;
use super::super::rest::call::{Call, Verb};
use super::super::rest::error::RestError;
use super::super::rest::function::{self, Function};
use super::super::rest::sql::{self, Described, Outcome, Script};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Most connections; PostgREST's default.
const CONNECTIONS: usize = 10;
/// Longest wait for one of them (`PGRST003` after it).
const WAIT: Duration = Duration::from_secs(10);
/// Longest wait for a new one.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A PostgreSQL that serves rows.
pub(super) struct Postgres {
    config: tokio_postgres::Config,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
    most: u64,
}

/// Without address and password.
impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Postgres {
    /// `most` is the number of rows that one read gives.
    ///
    /// # Errors
    /// A sentence when the address is not one, or nobody answers there.
    pub(super) async fn reach(url: &str, most: u64) -> Result<Postgres, String> {
        let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
            "not a database address, such as postgresql://postgres@127.0.0.1:5432/postgres".to_owned()
        })?;
        config.connect_timeout(CONNECT_WITHIN).application_name("crossfade emulator");
        let postgres =
            Postgres { config, idle: Mutex::new(Vec::new()), permits: Semaphore::new(CONNECTIONS), most };
        let client = postgres.connect().await.map_err(|error| said(&error))?;
        postgres.keep(client);
        Ok(postgres)
    }

    /// A connection of its own, in UTC, whose strings are read by the standard.
    pub(super) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        // It ends with its client; what went wrong the client's caller is told.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        client
            .batch_execute(
                "SET standard_conforming_strings = on; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'",
            )
            .await?;
        Ok(client)
    }

    fn keep(&self, client: Client) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    async fn take(&self) -> Result<Client, RestError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(client) = idle() {
            if !client.is_closed() {
                return Ok(client);
            }
        }
        self.connect().await.map_err(|error| RestError {
            details: Some(said(&error)),
            ..RestError::new("PGRST000", "Database connection error. Retrying the connection.")
        })
    }

    /// Answers a request of a caller who was let in.
    pub(super) async fn respond(&self, request: &HttpRequest, caller: &Caller) -> HttpAnswer {
        let answered = async {
            let call = Call::read(request)?;
            let permit = tokio::time::timeout(WAIT, self.permits.acquire()).await;
            let Ok(Ok(_permit)) = permit else {
                return Err(RestError::new(
                    "PGRST003",
                    "Timed out acquiring connection from connection pool.",
                ));
            };
            let client = self.take().await?;
            let answer = self.run(&client, (&call, request), caller).await;
            if answer.is_err() {
                query(&client, "ROLLBACK").await?;
            }
            self.keep(client);
            answer
        };
        answered.await.unwrap_or_else(|error: RestError| error.answer(caller.anonymous()))
    }

    async fn run(
        &self,
        client: &Client,
        (call, request): (&Call, &HttpRequest),
        caller: &Caller,
    ) -> Result<HttpAnswer, RestError> {
        let read_only = matches!(request.method.as_str(), "GET" | "HEAD");
        let opening = sql::opening(caller, Some(request), read_only);
        let rows = async |text: String| -> Result<Vec<Vec<Option<String>>>, RestError> {
            Ok(query(client, &text).await?.into_iter().next().unwrap_or_default().rows)
        };
        let script = if call.verb == Verb::Run {
            let function = Function::choose(call, &rows(function::describe_function(call)).await?)?;
            Script::function(call, &function, &opening)
        } else {
            let described = Described::read(&rows(sql::describe(call)).await?)
                .ok_or_else(|| RestError::no_table(&call.schema, &call.name))?;
            if call.changes_nothing() {
                return Ok(answer::answer(call, &answer::Done::default()));
            }
            Script::table(call, &described, &opening, self.most)?
        };
        let done = script.done(call, &query(client, &script.text).await?);
        answer::check(call, &done)?;
        query(client, "COMMIT").await?;
        Ok(answer::answer(call, &done))
    }
}

/// Runs statements by the simple protocol: texts in, texts out.
///
/// # Errors
/// PostgreSQL's own, or `PGRST001` when the connection is lost.
pub(super) async fn query(client: &Client, text: &str) -> Result<Vec<Outcome>, RestError> {
    let messages = client.simple_query(text).await.map_err(|error| refused(&error))?;
    let (mut all, mut current) = (Vec::new(), Outcome::default());
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|at| row.try_get(at).ok().flatten().map(str::to_owned));
                current.rows.push(cells.collect());
            }
            SimpleQueryMessage::CommandComplete(count) => {
                current.count = count;
                all.push(std::mem::take(&mut current));
            }
            _ => {}
        }
    }
    Ok(all)
}

fn refused(error: &tokio_postgres::Error) -> RestError {
    match error.as_db_error() {
        Some(told) => RestError {
            code: told.code().code().to_owned(),
            message: told.message().to_owned(),
            details: told.detail().map(str::to_owned),
            hint: told.hint().map(str::to_owned),
        },
        None => RestError::new("PGRST001", "Database client error. Retrying the connection."),
    }
}

/// What went wrong on the way, without the address.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(told), _) => told.message().to_owned(),
        (None, Some(source)) => source.to_string(),
        (None, None) => error.to_string(),
    }
}
