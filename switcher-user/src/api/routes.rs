//! The routes: each makes one [`Command`] of a request.

use std::time::Instant;

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::extract::{Asker, Body, Place, invalid};
use super::{
    AliasPut, ApiError, ApplyRequest, CONTAINERS_NAMED_MAX, Command, ContainersQuery, ContainersRequest, Envelope,
    ErrorCode, FLOW_BACKENDS_MAX, FLOWS_LISTED, FLOWS_LISTED_MAX, FlowsRequest, HoldRequest, Progress,
    REQUEST_BYTES_MAX, Reply, SetPut, SplitRequest, UpgradeRequest,
};
use crate::model::{AliasName, BackendAddress, SetName, StackName};

type Agent = State<mpsc::Sender<Envelope>>;
type Answer = Result<Response, ApiError>;

/// Everything that is served.
pub(super) fn router(agent: mpsc::Sender<Envelope>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/apply", post(apply))
        .route("/v1/containers", get(containers))
        .route("/v1/containers/leave", post(leave))
        .route("/v1/containers/stay", post(stay))
        .route("/v1/aliases", get(alias_ls))
        .route("/v1/aliases/{alias}", put(alias_put).delete(alias_rm))
        .route("/v1/aliases/{alias}/sets/{set}", put(set_put).merge(delete(set_rm)))
        .route("/v1/aliases/{alias}/flows", get(flows))
        .route("/v1/aliases/{alias}/split", post(split))
        .route("/v1/aliases/{alias}/rollback", post(rollback))
        .route("/v1/aliases/{alias}/confirm", post(confirm))
        .route("/v1/aliases/{alias}/hold", post(hold))
        .route("/v1/aliases/{alias}/release", post(release))
        .route("/v1/upgrade", post(upgrade))
        .route("/v1/upgrade/forecast", post(forecast))
        .route("/v1/receipts", get(receipts))
        .route("/v1/receipts/{id}", get(receipt))
        .route("/v1/detach", post(detach))
        .fallback(no_route)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(agent)
}

async fn ask(State(agent): Agent, asker: Asker, command: Command) -> Answer {
    let started = Instant::now();
    let (reply, answer) = oneshot::channel();
    let deadline = started + asker.timeout;
    let envelope = Envelope {
        command,
        caller: asker.caller,
        started,
        deadline,
        reply,
    };
    let stopping = || ApiError::new(ErrorCode::Unknown, "the agent is stopping; run: switcher status");
    match tokio::time::timeout(asker.timeout, agent.send(envelope)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => {
            return Err(ApiError::new(
                ErrorCode::Refused,
                "the agent is stopping; nothing was changed",
            ));
        }
        Err(_) => {
            return Err(ApiError::new(
                ErrorCode::TimedOut,
                "the agent is busy and the time is up; nothing was changed",
            ));
        }
    }
    Ok(answer.await.map_err(|_| stopping())??.into_response())
}

async fn apply(agent: Agent, asker: Asker, Body(request): Body<ApplyRequest>) -> Answer {
    ask(agent, asker, Command::Apply(Box::new(request))).await
}

/// All of them; or those of a service, and whether they take connections where they are to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedContainers {
    project: Option<StackName>,
    service: Option<SetName>,
    ports: Option<String>,
}

async fn containers(
    agent: Agent,
    asker: Asker,
    query: Result<Query<AskedContainers>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|rejection| invalid(format!("query: {}", rejection.body_text())))?;
    let asked = match query {
        AskedContainers {
            project: Some(project),
            service: Some(service),
            ports,
        } => {
            let groups = ContainersQuery::groups_from(&ports.unwrap_or_default());
            let groups = groups.map_err(|word| {
                invalid(format!(
                    "query: ports: '{word}' is no port; name some as 80,443;8080: one of each group is to take connections"
                ))
            })?;
            Some(ContainersQuery {
                project,
                service,
                groups,
            })
        }
        AskedContainers {
            project: None,
            service: None,
            ports: None,
        } => None,
        _ => return Err(invalid("query: name 'project' and 'service', or nothing".to_owned())),
    };
    ask(agent, asker, Command::Containers(asked)).await
}

async fn leave(agent: Agent, asker: Asker, Body(request): Body<ContainersRequest>) -> Answer {
    ask(agent, asker, Command::Leave(checked(request)?)).await
}

async fn stay(agent: Agent, asker: Asker, Body(request): Body<ContainersRequest>) -> Answer {
    ask(agent, asker, Command::Stay(checked(request)?)).await
}

fn checked(request: ContainersRequest) -> Result<ContainersRequest, ApiError> {
    if request.ids.len() > CONTAINERS_NAMED_MAX {
        let count = request.ids.len();
        return Err(invalid(format!(
            "ids: {count} of them; name {CONTAINERS_NAMED_MAX} at most"
        )));
    }
    Ok(request)
}

async fn alias_ls(agent: Agent, asker: Asker) -> Answer {
    ask(agent, asker, Command::AliasLs).await
}

async fn alias_put(agent: Agent, asker: Asker, Place(alias): Place<AliasName>, Body(put): Body<AliasPut>) -> Answer {
    ask(agent, asker, Command::AliasPut(alias, put)).await
}

async fn alias_rm(agent: Agent, asker: Asker, Place(alias): Place<AliasName>) -> Answer {
    ask(agent, asker, Command::AliasRm(alias)).await
}

async fn set_put(
    agent: Agent,
    asker: Asker,
    Place((alias, set)): Place<(AliasName, SetName)>,
    Body(put): Body<SetPut>,
) -> Answer {
    ask(agent, asker, Command::SetPut(alias, set, put)).await
}

async fn set_rm(agent: Agent, asker: Asker, Place((alias, set)): Place<(AliasName, SetName)>) -> Answer {
    ask(agent, asker, Command::SetRm(alias, set)).await
}

async fn split(agent: Agent, asker: Asker, Place(alias): Place<AliasName>, Body(split): Body<SplitRequest>) -> Answer {
    ask(agent, asker, Command::Split(alias, split)).await
}

async fn hold(agent: Agent, asker: Asker, Place(alias): Place<AliasName>, Body(hold): Body<HoldRequest>) -> Answer {
    ask(agent, asker, Command::Hold(alias, hold)).await
}

async fn release(agent: Agent, asker: Asker, Place(alias): Place<AliasName>) -> Answer {
    ask(agent, asker, Command::Release(alias)).await
}

async fn rollback(agent: Agent, asker: Asker, Place(alias): Place<AliasName>) -> Answer {
    ask(agent, asker, Command::Rollback(alias)).await
}

async fn confirm(agent: Agent, asker: Asker, Place(alias): Place<AliasName>) -> Answer {
    ask(agent, asker, Command::Confirm(alias)).await
}

async fn upgrade(agent: Agent, asker: Asker, Body(request): Body<UpgradeRequest>) -> Answer {
    ask(agent, asker, Command::Upgrade(request)).await
}

async fn forecast(agent: Agent, asker: Asker, Body(request): Body<UpgradeRequest>) -> Answer {
    ask(agent, asker, Command::Forecast(request)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    alias: Option<AliasName>,
}

async fn status(
    agent: Agent,
    asker: Asker,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|rejection| invalid(format!("query: {}", rejection.body_text())))?;
    ask(agent, asker, Command::Status(query.alias)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    set: Option<SetName>,
    /// `10.1.0.2,10.1.0.3:8080`.
    backend: Option<String>,
    limit: Option<u32>,
}

async fn flows(
    agent: Agent,
    asker: Asker,
    Place(alias): Place<AliasName>,
    query: Result<Query<FlowsQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|rejection| invalid(format!("query: {}", rejection.body_text())))?;
    let limit = query.limit.unwrap_or(FLOWS_LISTED);
    if !(1..=FLOWS_LISTED_MAX).contains(&limit) {
        return Err(invalid(format!("query: limit={limit}; it is 1 to {FLOWS_LISTED_MAX}")));
    }
    let backends = backends(query.backend.as_deref().unwrap_or_default())?;
    let request = FlowsRequest {
        alias,
        set: query.set,
        backends,
        limit,
    };
    ask(agent, asker, Command::Flows(request)).await
}

fn backends(text: &str) -> Result<Vec<BackendAddress>, ApiError> {
    let words: Vec<&str> = text.split(',').filter(|word| !word.is_empty()).collect();
    if words.len() > FLOW_BACKENDS_MAX {
        return Err(invalid(format!(
            "query: backend: {} of them; at most {FLOW_BACKENDS_MAX}",
            words.len()
        )));
    }
    let each = words.iter().map(|word| {
        let read: Result<BackendAddress, _> = word.parse();
        read.map_err(|error| invalid(format!("query: backend: {error}")))
    });
    each.collect()
}

async fn receipts(agent: Agent, asker: Asker) -> Answer {
    ask(agent, asker, Command::Receipts).await
}

async fn receipt(agent: Agent, asker: Asker, Place(id): Place<u64>) -> Answer {
    ask(agent, asker, Command::Receipt(id)).await
}

async fn detach(agent: Agent, asker: Asker) -> Answer {
    ask(agent, asker, Command::Detach).await
}

async fn no_route() -> ApiError {
    invalid("this agent has no such route; is the command of another version?".to_owned())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self)).into_response()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Progress(progress) => lines(progress),
            document => axum::Json(document).into_response(),
        }
    }
}

/// One line for each state that is seen; a slow reader skips states, never the last.
fn lines(progress: watch::Receiver<Progress>) -> Response {
    let events = stream::unfold((Some(progress), true), |(progress, first)| async move {
        let mut progress = progress?;
        if !first && progress.changed().await.is_err() {
            return None;
        }
        let event = progress.borrow_and_update().clone();
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        let rest = (!event.is_end()).then_some(progress);
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (rest, false)))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        HttpBody::from_stream(events),
    )
        .into_response()
}
