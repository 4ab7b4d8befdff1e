//! Questions as clients ask them, packets and sockets.

use std::net::{IpAddr, Ipv4Addr};

use hickory_server::proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::{DNSClass, Name, RData, RecordType};

use super::super::names::tests::names;
use super::*;

/// Somebody who may be answered.
const SOMEBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_353);

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn answerer() -> (watch::Sender<Arc<Names>>, Answerer) {
    let (told, heard) = watch::channel(Arc::new(names()));
    (told, Answerer::new(Zone::default(), heard).unwrap())
}

async fn said(question: &Message, protocol: Protocol) -> (Message, usize) {
    let (_told, answerer) = answerer();
    let packet = question.to_vec().unwrap();
    let answer = reply(&answerer, packet, SOMEBODY, protocol).await.unwrap();
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.metadata.id, question.metadata.id);
    (message, answer.len())
}

async fn ask(name: &str, kind: RecordType) -> Message {
    said(&question(name, kind), Protocol::Udp).await.0
}

fn addresses(answer: &Message) -> Vec<String> {
    let addresses = answer.answers.iter().map(|record| match &record.data {
        RData::A(v4) => v4.to_string(),
        RData::AAAA(v6) => v6.to_string(),
        other => other.to_string(),
    });
    addresses.collect()
}

#[tokio::test]
async fn an_alias_answers_with_its_own_address() {
    for name in ["web.switcher.internal.", "WEB.Switcher.internal.", "web.", "Web."] {
        for (kind, expected) in [
            (RecordType::A, &["198.18.255.2"][..]),
            (RecordType::AAAA, &["fd00::5"]),
            (RecordType::ANY, &["198.18.255.2", "fd00::5"]),
        ] {
            let answer = ask(name, kind).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
            assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
            assert!(!answer.metadata.recursion_available);
            assert_eq!(addresses(&answer), expected, "{name} {kind}");
            assert_eq!(answer.authorities, [], "{name}");
            assert_eq!(answer.queries[0].name().to_ascii(), name, "as it was asked");
            for record in &answer.answers {
                assert_eq!((record.ttl, &record.name), (5, answer.queries[0].name()));
            }
        }
    }
}

#[tokio::test]
async fn that_there_is_nothing_is_told_with_how_long_it_may_be_kept() {
    use ResponseCode::{NXDomain, NoError};
    for (name, kind, code, zone) in [
        ("web.switcher.internal.", RecordType::MX, NoError, "switcher.internal."),
        ("web.", RecordType::TXT, NoError, "web."),
        ("a.b.switcher.internal.", RecordType::A, NoError, "switcher.internal."),
        ("b.switcher.internal.", RecordType::A, NoError, "switcher.internal."),
        ("switcher.internal.", RecordType::A, NoError, "switcher.internal."),
        (
            "other.switcher.internal.",
            RecordType::A,
            NXDomain,
            "switcher.internal.",
        ),
        (
            "x.web.switcher.internal.",
            RecordType::AAAA,
            NXDomain,
            "switcher.internal.",
        ),
        (
            "we\\.b.switcher.internal.",
            RecordType::A,
            NXDomain,
            "switcher.internal.",
        ),
        (
            "a\\.b.switcher.internal.",
            RecordType::A,
            NXDomain,
            "switcher.internal.",
        ),
    ] {
        let answer = ask(name, kind).await;
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert!(answer.metadata.authoritative, "{name}");
        assert_eq!(addresses(&answer), Vec::<String>::new(), "{name}");
        let [authority] = &answer.authorities[..] else {
            panic!("{name}: {answer}")
        };
        assert_eq!(authority.name.to_ascii(), zone, "{name}");
        let RData::SOA(soa) = &authority.data else {
            panic!("{name}: {answer}")
        };
        assert_eq!((authority.ttl, soa.minimum), (5, 5), "{name}");
    }
    let apex = ask("switcher.internal.", RecordType::SOA).await;
    assert_eq!((apex.answers.len(), apex.authorities.len()), (1, 0));
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let mut chaos = question("web.switcher.internal.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let names = [
        "example.com.",
        "web.example.com.",
        "xswitcher.internal.",
        "other.",
        "internal.",
        ".",
    ];
    let foreign = names.map(|name| question(name, RecordType::A));
    for question in foreign.iter().chain([&chaos]) {
        let (answer, _) = said(question, Protocol::Udp).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{question}");
        assert!(!answer.metadata.authoritative && answer.answers.is_empty() && answer.authorities.is_empty());
    }
}

#[tokio::test]
async fn broken_questions_are_answered_as_such_and_answers_never() {
    let code = async |question: &Message| said(question, Protocol::Tcp).await.0.metadata.response_code;
    let one = question("web.", RecordType::A);
    let mut two = one.clone();
    two.add_query(one.queries[0].clone());
    assert_eq!(code(&two).await, ResponseCode::FormErr);
    let mut update = one.clone();
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&update).await, ResponseCode::NotImp);
    let mut later = one.clone();
    let mut edns = Edns::new();
    edns.set_version(1);
    later.set_edns(edns);
    // BADVERS; hickory reads this number as BADSIG, which has it too.
    assert_eq!(u16::from(code(&later).await), u16::from(ResponseCode::BADVERS));

    let (_told, answerer) = answerer();
    let mut answer = one.clone();
    answer.metadata.message_type = MessageType::Response;
    let packet = answer.to_vec().unwrap();
    assert_eq!(reply(&answerer, packet, SOMEBODY, Protocol::Udp).await, None);
}

#[tokio::test]
async fn too_much_for_a_datagram_is_cut_and_told_whole_by_tcp() {
    let plain = question("many.switcher.internal.", RecordType::A);
    let (answer, bytes) = said(&plain, Protocol::Udp).await;
    assert!(answer.metadata.truncation && bytes <= 512, "{bytes}");
    assert!(answer.answers.len() > 8, "as many as there is room for: {answer}");
    let (answer, _) = said(&plain, Protocol::Tcp).await;
    assert!(!answer.metadata.truncation);
    assert_eq!(
        addresses(&answer),
        names().addresses["many"]
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    // What a client would take is taken at its word, within bounds.
    for (taken, cut, most) in [(0, true, 512), (800, true, 800), (u16::MAX, false, 1_232)] {
        let mut larger = plain.clone();
        let mut edns = Edns::new();
        edns.set_max_payload(taken);
        larger.set_edns(edns);
        let (answer, bytes) = said(&larger, Protocol::Udp).await;
        assert_eq!(answer.metadata.truncation, cut, "{taken}");
        assert!(bytes <= most, "{taken}: {bytes}");
        // Where it is cut there may be no room for it.
        assert!(cut || answer.edns.is_some(), "{taken}");
    }
}

proptest::proptest! {
    #[test]
    fn no_packet_makes_it_panic_or_answer_long(
        packet in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        header in proptest::bool::ANY,
    ) {
        let mut packet = packet;
        // Bytes at random hardly ever come to a question.
        if header && packet.len() >= 12 {
            packet[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        let (_told, answerer) = answerer();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let answer = runtime.block_on(reply(&answerer, packet.clone(), SOMEBODY, protocol));
            if let Some(answer) = answer {
                assert!(protocol == Protocol::Tcp || answer.len() <= 1_232);
                assert_eq!(&answer[..2], &packet[..2]);
            }
        }
    }
}

/// One that serves at a free port, and where.
async fn serving() -> (watch::Sender<Arc<Names>>, SocketAddr) {
    let responder = Responder::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let place = responder.listener.local_addr().unwrap();
    assert_eq!(place, responder.socket.local_addr().unwrap(), "one address for both");
    let (told, heard) = watch::channel(Arc::new(Names::default()));
    tokio::spawn(responder.serve(Zone::default(), heard));
    (told, place)
}

async fn converse_with(stream: &mut TcpStream, question: &Message) -> io::Result<Message> {
    let packet = question.to_vec().unwrap();
    stream.write_u16(u16::try_from(packet.len()).unwrap()).await?;
    stream.write_all(&packet).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(Message::from_vec(&answer).unwrap())
}

async fn datagram(socket: &UdpSocket, packet: &[u8]) -> Message {
    socket.send(packet).await.unwrap();
    let mut answer = [0; 2_048];
    let length = timeout(SILENT_FOR, socket.recv(&mut answer)).await.unwrap().unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

#[tokio::test]
async fn one_connection_asks_twice_and_a_bad_one_is_closed() {
    let (told, place) = serving().await;
    let mut stream = TcpStream::connect(place).await.unwrap();
    let web = question("web.switcher.internal.", RecordType::A);
    let unknown = converse_with(&mut stream, &web).await.unwrap();
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain, "not yet");
    told.send(Arc::new(names())).unwrap();
    let known = converse_with(&mut stream, &web).await.unwrap();
    assert_eq!(addresses(&known), ["198.18.255.2"]);

    let mut bad = TcpStream::connect(place).await.unwrap();
    bad.write_u16(u16::MAX).await.unwrap();
    assert_eq!(bad.read(&mut [0; 1]).await.unwrap_or(0), 0, "too long a question");
    assert!(converse_with(&mut stream, &web).await.is_ok(), "others go on");
}

#[tokio::test]
async fn datagrams_are_answered_also_after_broken_ones() {
    let (told, place) = serving().await;
    told.send(Arc::new(names())).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(place).await.unwrap();
    socket.send(b"short").await.unwrap();
    // One question is announced, and none is there.
    let broken = datagram(&socket, &[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!(broken.metadata.response_code, ResponseCode::FormErr);
    let web = question("web.", RecordType::AAAA).to_vec().unwrap();
    assert_eq!(addresses(&datagram(&socket, &web).await), ["fd00::5"]);
}

#[tokio::test]
async fn silent_connections_hold_up_others_for_a_bounded_time() {
    let (told, place) = serving().await;
    told.send(Arc::new(names())).unwrap();
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(place).await.unwrap());
    }
    let mut late = TcpStream::connect(place).await.unwrap();
    let web = question("web.", RecordType::A);
    let asked = converse_with(&mut late, &web);
    tokio::pin!(asked);
    let soon = timeout(SILENT_FOR / 5, &mut asked).await;
    assert!(soon.is_err(), "no more than the bound at a time");
    let answer = timeout(SILENT_FOR * 2, &mut asked)
        .await
        .expect("the silent are closed");
    assert_eq!(addresses(&answer.unwrap()), ["198.18.255.2"]);
}
