//! A process that does with sockets what it is told, a line at a time: so a test can be a local client, step by step, in any
//! namespace and cgroup.
//!
//! ```text
//! open NAME tcp4|tcp6|udp4|udp6     bind NAME ADDR        connect NAME ADDR      begin NAME ADDR (without waiting)
//! ask NAME (an HTTP request)        send NAME TEXT        sendto NAME ADDR TEXT  recv NAME     recvfrom NAME
//! peer NAME    local NAME           dup NAME OTHER        shutdown NAME          abort NAME    close NAME
//! ```
//!
//! Each line is answered by one: `ok` and what there is to say, or `error` and the reason.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// No step waits longer.
const LIMIT: Duration = Duration::from_secs(5);
/// No datagram or answer of a test is larger.
const BYTES_MAX: usize = 4_096;

/// Answers lines of stdin until its end.
///
/// # Errors
/// If stdin or stdout break.
pub fn serve() -> Result<()> {
    let mut sockets = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = match step(&mut sockets, &line) {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error {error:#}"),
        };
        println!("{}", answer.replace('\n', " ").trim_end());
        io::stdout().flush()?;
    }
    Ok(())
}

fn step(sockets: &mut BTreeMap<String, Socket>, line: &str) -> Result<String> {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().context("a word is missing");
    let (verb, name) = (word()?, word()?);
    if verb == "open" {
        sockets.insert(name.to_owned(), open(word()?)?);
        return Ok(String::new());
    }
    let socket = sockets.get(name).context("no such socket")?;
    match verb {
        "bind" => socket.bind(&word()?.parse::<SocketAddr>()?.into())?,
        "connect" => socket.connect(&word()?.parse::<SocketAddr>()?.into())?,
        "begin" => begin(socket, word()?.parse()?)?,
        "ask" => return ask(socket),
        "send" => drop(socket.send(word()?.as_bytes())?),
        "sendto" => {
            let to: SocketAddr = word()?.parse()?;
            socket.send_to(word()?.as_bytes(), &to.into())?;
        }
        "recv" => return receive(socket),
        "recvfrom" => return receive_from(socket),
        "peer" => return text_of(&socket.peer_addr()?),
        "local" => return text_of(&socket.local_addr()?),
        "dup" => {
            let copy = socket.try_clone()?;
            sockets.insert(word()?.to_owned(), copy);
        }
        "shutdown" => socket.shutdown(Shutdown::Write)?,
        "abort" => {
            socket.set_linger(Some(Duration::ZERO))?;
            sockets.remove(name);
        }
        "close" => drop(sockets.remove(name)),
        other => bail!("no verb {other}"),
    }
    Ok(String::new())
}

fn open(kind: &str) -> Result<Socket> {
    let (kind, family) = kind.split_at(3);
    let domain = if family == "4" { Domain::IPV4 } else { Domain::IPV6 };
    let (kind, protocol) = match kind {
        "tcp" => (Type::STREAM, Protocol::TCP),
        "udp" => (Type::DGRAM, Protocol::UDP),
        other => bail!("no protocol {other}"),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// Begins to connect as event loops do; the socket then waits again.
fn begin(socket: &Socket, to: SocketAddr) -> Result<()> {
    const IN_PROGRESS: i32 = 115;
    socket.set_nonblocking(true)?;
    let begun = socket.connect(&to.into());
    socket.set_nonblocking(false)?;
    match begun {
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => Ok(()),
        begun => Ok(begun?),
    }
}

fn ask(mut socket: &Socket) -> Result<String> {
    socket.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; BYTES_MAX];
    // The body is short: one that ends in a line end, after the empty line, is whole.
    for _ in 0..64 {
        let count = socket.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && body.ends_with('\n')
        {
            return Ok(body.trim().to_owned());
        }
        anyhow::ensure!(count > 0, "closed");
    }
    bail!("no whole answer")
}

fn receive(mut socket: &Socket) -> Result<String> {
    let mut buffer = [0; BYTES_MAX];
    let count = socket.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn receive_from(socket: &Socket) -> Result<String> {
    let mut buffer = [0; BYTES_MAX];
    let (count, from) = UdpSocket::from(socket.try_clone()?).recv_from(&mut buffer)?;
    Ok(format!("{from} {}", String::from_utf8_lossy(&buffer[..count])))
}

fn text_of(address: &socket2::SockAddr) -> Result<String> {
    Ok(address.as_socket().context("no IP address")?.to_string())
}
