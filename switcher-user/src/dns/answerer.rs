//! A question in, an answer out.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_server::net::runtime::Time;
use hickory_server::proto::ProtoError;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, LowerQuery, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::SOA;
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::sync::watch;

use super::names::{Found, Names};
use crate::model::Zone;

/// How long an answer may be kept, also one that there is no such name. The address is stable; an alias that is removed, or new,
/// is known after this.
const TTL_SECONDS: u32 = 5;
/// Longest datagram that is sent, whatever a client would take: this much passes every network whole.
const DATAGRAM_BYTES_MAX: u16 = 1_232;
/// Every client takes this much.
const DATAGRAM_BYTES_MIN: u16 = 512;
/// Nobody transfers the zone, so nobody compares this number.
const SERIAL: u32 = 1;
/// Times for secondary servers, of which there are none: as RFC 1912 has them, in seconds.
const REFRESH_RETRY_EXPIRE: (i32, i32, i32) = (3_600, 600, 86_400);

/// Answers from the names as they are when a question comes.
#[derive(Clone, Debug)]
pub(super) struct Answerer {
    zone: Zone,
    apex: Name,
    names: watch::Receiver<Arc<Names>>,
}

/// What is said to a question.
#[derive(Debug)]
struct Answer {
    code: ResponseCode,
    ours: bool,
    records: Vec<Record>,
    /// Says how long it may be kept that there is nothing.
    nothing: Option<Record>,
}

impl Answer {
    const fn error(code: ResponseCode) -> Self {
        Self {
            code,
            ours: false,
            records: Vec::new(),
            nothing: None,
        }
    }
}

impl Answerer {
    /// # Errors
    /// When the zone is no name: `Zone` sees to it that it is one.
    pub(super) fn new(zone: Zone, names: watch::Receiver<Arc<Names>>) -> Result<Self, ProtoError> {
        let mut apex = Name::from_ascii(zone.as_str())?;
        apex.set_fqdn(true);
        Ok(Self { zone, apex, names })
    }

    fn answer(&self, request: &Request) -> Answer {
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Answer::error(ResponseCode::BADVERS);
        }
        if request.metadata.op_code != OpCode::Query {
            return Answer::error(ResponseCode::NotImp);
        }
        match request.request_info() {
            Ok(info) if info.query.query_class() == DNSClass::IN => {
                self.look_up(info.query, request.src().ip().to_canonical())
            }
            Ok(_) => Answer::error(ResponseCode::Refused),
            // Exactly one question.
            Err(_) => Answer::error(ResponseCode::FormErr),
        }
    }

    fn look_up(&self, query: &LowerQuery, client: IpAddr) -> Answer {
        let names = Arc::clone(&self.names.borrow());
        let (name, kind) = (query.original().name(), query.query_type());
        match names.find(client, &self.zone, &text(query.name())) {
            Found::Elsewhere => Answer::error(ResponseCode::Refused),
            Found::Missing => found(ResponseCode::NXDomain, Vec::new(), &self.apex),
            Found::Above => found(ResponseCode::NoError, Vec::new(), &self.apex),
            Found::Zone => {
                let asked = matches!(kind, RecordType::SOA | RecordType::ANY);
                let records = asked.then(|| authority(&self.apex));
                found(ResponseCode::NoError, records.into_iter().collect(), &self.apex)
            }
            Found::Alias(all) => found(ResponseCode::NoError, records(name, kind, all), &self.apex),
            // A bare name is in no zone but its own.
            Found::Bare(all) => found(ResponseCode::NoError, records(name, kind, all), name),
        }
    }
}

/// As names of aliases are written: labels in small letters, with dots between them.
fn text(name: &Name) -> String {
    let labels = name.iter().map(|label| {
        // A dot inside a label would look like two labels.
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'.';
        let letter = |byte: &u8| {
            if plain(byte) {
                byte.to_ascii_lowercase() as char
            } else {
                '?'
            }
        };
        label.iter().map(letter).collect::<String>()
    });
    labels.collect::<Vec<_>>().join(".")
}

fn records(name: &Name, kind: RecordType, addresses: &[IpAddr]) -> Vec<Record> {
    let asked = |address: &&IpAddr| match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let asked = addresses.iter().filter(asked);
    asked
        .map(|address| Record::from_rdata(name.clone(), TTL_SECONDS, RData::from(*address)))
        .collect()
}

fn found(code: ResponseCode, records: Vec<Record>, zone: &Name) -> Answer {
    Answer {
        code,
        ours: true,
        nothing: records.is_empty().then(|| authority(zone)),
        records,
    }
}

/// The record that says how long "nothing" may be kept (RFC 2308): the lesser of its own time and its last number.
fn authority(zone: &Name) -> Record {
    let (refresh, retry, expire) = REFRESH_RETRY_EXPIRE;
    // Before the longest zone there is room for an alias's name, so for this too; a bare name is shorter.
    let person = zone.prepend_label("hostmaster").unwrap_or_else(|_| zone.clone());
    let soa = SOA::new(zone.clone(), person, SERIAL, refresh, retry, expire, TTL_SECONDS);
    Record::from_rdata(zone.clone(), TTL_SECONDS, RData::SOA(soa))
}

/// The answer's EDNS, where the question has it. Its size is the most that the answer may take as a datagram.
fn edns_of(request: &Request) -> Option<Edns> {
    let asked = request.edns.as_ref()?;
    let mut edns = Edns::new();
    edns.set_version(0);
    edns.set_max_payload(asked.max_payload().clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX));
    Some(edns)
}

#[async_trait]
impl RequestHandler for Answerer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let answer = self.answer(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.code;
        metadata.authoritative = answer.ours;
        let edns = edns_of(request);
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let message = builder.build(metadata, &answer.records, [], &answer.nothing, []);
        // What could not be sent is asked for again.
        response.send_response(message).await.unwrap_or_else(|_| {
            let counts = HeaderCounts::default();
            Header { metadata, counts }.into()
        })
    }
}
