//! The HTTP client on the agent's socket.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::host::HostArgs;
use super::wait::millis;
use crate::api::{ApiError, ErrorCode, Progress, TIMEOUT_HEADER};

/// An agent that has not answered this long after its own deadline will not.
const GRACE: Duration = Duration::from_secs(10);
/// How long a question that changes nothing may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest line of progress, in bytes.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Talks to one agent.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(host: &HostArgs) -> Self {
        Self { socket: host.socket() }
    }

    /// Where the agent listens.
    pub(super) fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Asks something that changes nothing.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let asked = self.ask(Method::GET, path, &(), READ_TIMEOUT, document);
        asked.await.map_err(|error| match error.code {
            ErrorCode::Unknown => ApiError {
                code: ErrorCode::HostFailed,
                ..error
            },
            _ => error,
        })
    }

    /// Asks for a change.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        self.ask(method, path, body, timeout, document).await
    }

    /// Asks for a change that takes long, and hears how far it is. Returns the last that was heard.
    pub(super) async fn follow(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
        mut seen: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Progress, ApiError> {
        self.ask(Method::POST, path, body, timeout, async |body| {
            lines(body, &mut seen).await
        })
        .await
    }

    async fn ask<T>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
        read: impl AsyncFnOnce(Incoming) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.no_agent(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| cut(&error))?;
        let driving = tokio::spawn(connection);
        let body = serde_json::to_vec(body).map_err(|error| cut(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "switcher")
            .header(header::CONTENT_TYPE, "application/json")
            .header(TIMEOUT_HEADER, millis(timeout))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| cut(&error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| cut(&error))?;
            match refusal(response).await {
                Ok(body) => read(body).await,
                Err(error) => Err(error),
            }
        };
        let answer = tokio::time::timeout(timeout.saturating_add(GRACE), answer).await;
        driving.abort();
        answer.unwrap_or_else(|_| Err(cut(&"no answer in time")))
    }

    /// True where there is no socket, or only one that a dead agent left.
    pub(super) fn nobody_listens(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.socket).is_err_and(|error| is_absence(&error))
    }

    fn no_agent(&self, error: &io::Error) -> ApiError {
        let socket = self.socket.display();
        let text = match error.kind() {
            _ if is_absence(error) => format!(
                "no agent answers at {socket}: nothing was sent; start it with: switcher agent, or name another with --host"
            ),
            io::ErrorKind::PermissionDenied => {
                format!(
                    "{socket} is not open to this user: nothing was sent; run the command as the agent's user (root)"
                )
            }
            _ => format!("{socket}: {error}: nothing was sent; name another with --host"),
        };
        ApiError::new(ErrorCode::NoAgent, text)
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The body of a good answer; else the error in it.
async fn refusal(response: Response<Incoming>) -> Result<Incoming, ApiError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response.into_body());
    }
    let bytes = whole(response.into_body()).await?;
    let unreadable = |_| ApiError::new(ErrorCode::Unknown, format!("the agent answered {status} and no reason"));
    Err(serde_json::from_slice::<ApiError>(&bytes).unwrap_or_else(unreadable))
}

async fn document<T: DeserializeOwned>(body: Incoming) -> Result<T, ApiError> {
    let bytes = whole(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| cut(&error))
}

async fn whole(body: Incoming) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    limited
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| cut(&error))
}

/// One JSON document a line, up to the one that says it has finished.
async fn lines(mut body: Incoming, seen: &mut impl FnMut(&Progress) -> ControlFlow<()>) -> Result<Progress, ApiError> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| cut(&error))?.into_data() else {
            continue;
        };
        if buffer.len() + data.len() > LINE_BYTES_MAX {
            return Err(cut(&"a line without end"));
        }
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1);
            let progress: Progress = serde_json::from_slice(&line).map_err(|error| cut(&error))?;
            if progress.is_end() || matches!(progress, Progress::StillRunning { .. }) {
                return Ok(progress);
            }
            if seen(&progress).is_break() {
                return Ok(progress);
            }
        }
    }
    Err(cut(&"the agent stopped"))
}

/// The answer did not come whole, so what happened is not known.
fn cut(error: &impl std::fmt::Display) -> ApiError {
    let text = format!("the agent's answer was cut off ({error}): the outcome is unknown; run: switcher status");
    ApiError::new(ErrorCode::Unknown, text)
}
