//! The socket where scrapers find the metrics.
//!
//! Everybody who reaches it may read, so everything is bounded: connections, their lives, scrapes at one time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Format, render};
use crate::api::{ApiError, Command, Envelope, ErrorCode, Reply, StatusDocument};
use crate::model::Caller;

/// Connections at one time; one more is closed at once.
const CONNECTIONS_MAX: usize = 16;
/// Snapshots taken at one time; more scrapes wait for their turn.
const SCRAPES_MAX: usize = 2;
/// A scrape's time: below Prometheus's own 10 s, so that the reason arrives there.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(8);
/// The head of a request must be whole within this, and the next one begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// A connection is asked to end after this, and cut a scrape's time later.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Pause after a connection that could not be taken: no file descriptors left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Why there are no metrics.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// The address cannot be had.
    #[error("metrics cannot be served at {address}: {cause}; {remedy}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// A bound socket that nobody is served at yet.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
}

impl MetricsServer {
    /// Binds the socket.
    ///
    /// # Errors
    /// When the address is not this host's, or is in use.
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let listener = TcpListener::bind(address).await.map_err(|cause| MetricsError::Bind {
            address,
            remedy: remedy(cause.kind()),
            cause,
        })?;
        Ok(Self { listener })
    }

    /// Where it listens: for port 0, the port that the system gave.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the task is aborted.
    pub async fn serve(self, agent: mpsc::Sender<Envelope>) {
        let scraper = Arc::new(Scraper {
            agent,
            slots: Semaphore::new(SCRAPES_MAX),
        });
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("metrics: a connection could not be taken: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Ok(place) = Arc::clone(&connections).try_acquire_owned() {
                let scraper = Arc::clone(&scraper);
                tokio::spawn(async move {
                    serve_connection(stream, scraper).await;
                    drop(place);
                });
            }
        }
    }
}

const fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "stop what listens there, or name another with --metrics-listen",
        io::ErrorKind::AddrNotAvailable => "name an address of this host with --metrics-listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; name another port",
        _ => "name another with --metrics-listen",
    }
}

async fn serve_connection(stream: TcpStream, scraper: Arc<Scraper>) {
    let service = service_fn(move |request| {
        let scraper = Arc::clone(&scraper);
        async move { Ok::<_, Infallible>(scraper.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A scraper that goes away in the middle is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(SCRAPE_TIMEOUT, connection).await;
}

/// Asks the agent for snapshots, a few at a time.
struct Scraper {
    agent: mpsc::Sender<Envelope>,
    slots: Semaphore,
}

impl Scraper {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "there is only /metrics here\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "/metrics can only be read\n");
            response
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
        let format = Format::accepted(accept);
        let page = match tokio::time::timeout(SCRAPE_TIMEOUT, self.snapshot()).await {
            Ok(Ok(status)) => render(status, format).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.message),
            Err(_) => Err("the agent is busy; no snapshot in time".to_owned()),
        };
        match page {
            Ok(page) => response(StatusCode::OK, format.content_type(), page),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
        }
    }

    async fn snapshot(&self) -> Result<StatusDocument, ApiError> {
        let stopping = |_| ApiError::new(ErrorCode::Refused, "the agent is stopping");
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|error| stopping(error.to_string()))?;
        let (reply, answer) = oneshot::channel();
        let started = Instant::now();
        let envelope = Envelope {
            command: Command::Status(None),
            caller: Caller::default(),
            started,
            deadline: started + SCRAPE_TIMEOUT,
            reply,
        };
        let sent = self.agent.send(envelope).await;
        sent.map_err(|error| stopping(error.to_string()))?;
        match answer.await.map_err(|error| stopping(error.to_string()))?? {
            Reply::Status(status) => Ok(*status),
            other => Err(ApiError::new(
                ErrorCode::Unknown,
                format!("the agent answered a scrape with {other:?}"),
            )),
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(VARY, hyper::header::HeaderValue::from_static("accept"));
    response
}
