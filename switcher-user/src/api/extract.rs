//! What a handler takes from a request; each failure is an error document.

use std::time::Duration;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;

use super::{ApiError, ErrorCode};
use crate::model::Caller;

/// How long the command may take, in milliseconds; without it 5 minutes.
pub const TIMEOUT_HEADER: &str = "switcher-timeout-ms";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// A day: nobody waits longer, and no clock overflows.
const TIMEOUT_MAX_MS: u64 = 86_400_000;

/// The other end of the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub Caller);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        // A peer that cannot be asked for is nobody: uid 65534.
        let unknown = Caller { uid: 65_534, pid: None };
        Self(stream.io().peer_cred().map_or(unknown, |cred| Caller {
            uid: cred.uid(),
            pid: cred.pid(),
        }))
    }
}

/// Who asks, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub caller: Caller,
    pub timeout: Duration,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>();
        let caller = peer.map_or_else(Caller::default, |ConnectInfo(Peer(caller))| *caller);
        let timeout = match parts.headers.get(TIMEOUT_HEADER) {
            None => TIMEOUT_DEFAULT,
            Some(value) => {
                let ms = value
                    .to_str()
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok())
                    .ok_or_else(|| {
                        invalid(format!(
                            "header {TIMEOUT_HEADER} is no number of milliseconds; write it as 300000"
                        ))
                    })?;
                Duration::from_millis(ms.min(TIMEOUT_MAX_MS))
            }
        };
        Ok(Self { caller, timeout })
    }
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(invalid(format!("request body: {}", rejection.body_text()))),
        }
    }
}

/// Parts of the path, parsed.
#[derive(Debug)]
pub(super) struct Place<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(place)) => Ok(Self(place)),
            Err(rejection) => Err(invalid(format!("request path: {}", rejection.body_text()))),
        }
    }
}

/// A request that makes no sense.
pub(super) fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}
