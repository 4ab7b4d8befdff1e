//! One question to one backend.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{shell, tls};
use crate::model::{Probe, Statuses};

/// Asks once. The error is a part of a sentence.
pub(super) async fn ask(probe: &Probe, to: SocketAddr, limit: Duration) -> Result<(), String> {
    let asked = async {
        match probe {
            Probe::Tcp => connect(to).await.map(|_| ()),
            Probe::Http { path, statuses } => http(connect(to).await?, to, path, *statuses).await,
            Probe::Https { path, statuses } => {
                http(tls::over(connect(to).await?, to).await?, to, path, *statuses).await
            }
            Probe::Command(command) => run(to, command).await,
        }
    };
    let late = |_| Err(format!("no answer within {} ms", limit.as_millis()));
    tokio::time::timeout(limit, asked).await.unwrap_or_else(late)
}

async fn connect(to: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(to).await.map_err(|error| error.to_string())
}

async fn http<S>(stream: S, to: SocketAddr, path: &str, statuses: Statuses) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let text = |error: hyper::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::get(path)
        .header(header::HOST, to.to_string())
        .header(header::USER_AGENT, "switcher-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answered = async { sender.send_request(request).await.map_err(text) };
    tokio::pin!(answered);
    let response = tokio::select! {
        biased;
        response = &mut answered => response?,
        // The answer may have come with the end of the connection.
        _ = connection => answered.await?,
    };
    // The body is not read: dropping the connection ends it.
    match response.status().as_u16() {
        status if statuses.has(status) => Ok(()),
        status if statuses == Statuses::OK => Err(format!("GET {path} answers {status}")),
        status => Err(format!("GET {path} answers {status} and not {statuses}")),
    }
}

async fn run(to: SocketAddr, command: &str) -> Result<(), String> {
    match shell::run(command, &[("SWITCHER_BACKEND", to.to_string())]).await {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(format!("its command failed ({})", ended.status)),
        Err(error) => Err(format!("its command could not be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    async fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        at
    }

    #[tokio::test]
    async fn what_is_answered_counts() {
        let http: Probe = "http:/healthz".parse().unwrap();
        let good = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(ask(&http, good, LIMIT).await, Ok(()));
        assert_eq!(ask(&Probe::Tcp, good, LIMIT).await, Ok(()));
        let bad = server("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(ask(&http, bad, LIMIT).await, Err("GET /healthz answers 500".to_owned()));
        let other: Probe = "http:/healthz 200-399".parse().unwrap();
        let moved = server("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(ask(&other, moved, LIMIT).await, Ok(()));
        assert_eq!(
            ask(&http, moved, LIMIT).await,
            Err("GET /healthz answers 302".to_owned())
        );
        let text = "GET /healthz answers 500 and not 200-399".to_owned();
        assert_eq!(ask(&other, bad, LIMIT).await, Err(text));
        let silent = server("").await;
        assert!(ask(&http, silent, LIMIT).await.unwrap_err().contains("within 500 ms"));
        let other = server("SSH-2.0-x\r\n").await;
        assert!(ask(&http, other, LIMIT).await.is_err());
        let https: Probe = "https:/healthz".parse().unwrap();
        let plain = ask(&https, good, LIMIT).await.unwrap_err();
        assert!(plain.starts_with("no TLS: "), "{plain}");
        assert!(ask(&https, silent, LIMIT).await.unwrap_err().contains("within 500 ms"));
    }

    #[tokio::test]
    async fn a_command_knows_whom_it_asks() {
        let to: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let command = |text: &str| Probe::Command(text.to_owned());
        assert_eq!(
            ask(&command("test $SWITCHER_BACKEND = 192.0.2.1:80"), to, LIMIT).await,
            Ok(())
        );
        assert!(ask(&command("exit 4"), to, LIMIT).await.unwrap_err().contains('4'));
        assert!(
            ask(&command("sleep 5"), to, LIMIT)
                .await
                .unwrap_err()
                .contains("500 ms")
        );
    }
}
