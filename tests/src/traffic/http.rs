//! As much HTTP/1.1 as the generator needs, so that no library hides a retry or a broken connection.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;
use super::sources::connect;

/// The longest head of an answer.
const HEAD_MAX: usize = 4096;
/// The longest body that is read whole.
const BODY_MAX: u64 = 4096;

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub status: u16,
    pub content_length: u64,
    /// The `X-Version` header.
    pub version: String,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Bytes read past what was asked for.
    ahead: Vec<u8>,
    local: SocketAddr,
}

impl Connection {
    pub async fn open(target: SocketAddr, source: Option<IpAddr>) -> Result<Self, Failure> {
        let stream = connect(target, source).await?;
        let local = stream.local_addr()?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
            local,
        })
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// GETs `/` and returns the version that answered. The body must be the version's name, as the header is.
    pub async fn ask_version(&mut self, id: &str, close: bool) -> Result<String, Failure> {
        let last = if close { "Connection: close\r\n" } else { "" };
        let head = format!("GET / HTTP/1.1\r\nHost: lab\r\nX-Request-Id: {id}\r\n{last}\r\n");
        self.send(head.as_bytes()).await?;
        let head = self.read_head().await?;
        if head.content_length > BODY_MAX {
            return Err(Failure::WrongAnswer(format!("a body of {} bytes", head.content_length)));
        }
        let mut body = vec![0; usize::try_from(head.content_length).unwrap_or(0)];
        self.read_body(&mut body).await?;
        if head.status != 200 || body.strip_suffix(b"\n") != Some(head.version.as_bytes()) {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(Failure::WrongAnswer(format!(
                "status {}, version {:?}, body {body:?}",
                head.status, head.version
            )));
        }
        Ok(head.version)
    }

    /// Reads to the connection's end, which must come without another byte.
    pub async fn read_end(&mut self) -> Result<(), Failure> {
        let mut byte = [0; 1];
        if !self.ahead.is_empty() || self.stream.read(&mut byte).await? != 0 {
            return Err(Failure::WrongAnswer("bytes after the answer".to_owned()));
        }
        Ok(())
    }

    pub async fn read_head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                return parse_head(&head);
            }
            if self.ahead.len() > HEAD_MAX {
                return Err(Failure::WrongAnswer(format!("a head over {HEAD_MAX} bytes")));
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(Failure::ClosedEarly);
            }
        }
    }

    /// Fills `out` from the body.
    async fn read_body(&mut self, out: &mut [u8]) -> Result<(), Failure> {
        let mut done = 0;
        while done < out.len() {
            done += self.read_some(&mut out[done..]).await?;
        }
        Ok(())
    }

    /// Reads some of the body, at least a byte.
    pub async fn read_some(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(out.len());
            out[..length].copy_from_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            return Ok(length);
        }
        match self.stream.read(out).await? {
            0 => Err(Failure::ClosedEarly),
            length => Ok(length),
        }
    }

    /// Ends the connection with a FIN and waits for the other side's.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.stream.shutdown().await?;
        self.read_end().await
    }
}

fn parse_head(head: &[u8]) -> Result<Head, Failure> {
    let wrong = || Failure::WrongAnswer(String::from_utf8_lossy(head).into_owned());
    let text = std::str::from_utf8(head).map_err(|_| wrong())?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3));
    let status = status.and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
    let (mut content_length, mut version) = (None, String::new());
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("content-length") {
            content_length = Some(value.parse().map_err(|_| wrong())?);
        } else if name.eq_ignore_ascii_case("x-version") {
            value.clone_into(&mut version);
        }
    }
    Ok(Head {
        status,
        content_length: content_length.ok_or_else(wrong)?,
        version,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_head;

    #[test]
    fn heads() {
        let head = parse_head(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nX-Version: v1\r\n\r\n").unwrap();
        assert_eq!(
            (head.status, head.content_length, head.version.as_str()),
            (200, 3, "v1")
        );
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse_head(b"nonsense\r\n\r\n").is_err());
    }
}
