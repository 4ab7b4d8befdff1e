//! The unix socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::Envelope;
use super::extract::Peer;
use super::routes::router;

/// Why the socket could not be had.
#[derive(Debug, Error)]
pub enum BindError {
    /// An agent answers there.
    #[error("an agent already serves {0}; stop it first, or name another socket with --socket")]
    Live(PathBuf),
    /// Something else is there.
    #[error("{0} is there and is no socket; move it away, or name another with --socket")]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("socket {path}: {cause}; name another with --socket")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// A bound socket that nobody is served at yet.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket, for its owner only. A dead agent's socket is replaced, a live one's never.
    ///
    /// # Errors
    /// When an agent answers there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |cause| BindError::Failed {
            path: path.to_owned(),
            cause,
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        make_room(path)?;
        // Bound under another name first: nobody can connect before the mode is right.
        let hidden = path.with_extension(format!("{}.new", std::process::id()));
        let listener = UnixListener::bind(&hidden).map_err(failed)?;
        let placed =
            fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&hidden, path));
        if let Err(cause) = placed {
            let _ = fs::remove_file(&hidden);
            return Err(failed(cause));
        }
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until `stop` fires or is dropped; then no new connection is taken, and the socket is removed.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub async fn serve(self, agent: mpsc::Sender<Envelope>, stop: oneshot::Receiver<()>) -> io::Result<()> {
        let service = router(agent).into_make_service_with_connect_info::<Peer>();
        let served = axum::serve(self.listener, service)
            .with_graceful_shutdown(async move {
                let _ = stop.await;
            })
            .await;
        let _ = fs::remove_file(&self.path);
        served
    }
}

fn make_room(path: &Path) -> Result<(), BindError> {
    let failed = |cause| BindError::Failed {
        path: path.to_owned(),
        cause,
    };
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(failed(cause)),
    };
    if !kind.is_socket() {
        return Err(BindError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::Live(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(cause) => Err(failed(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("run/switcher.sock");
        let first = Server::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Server::bind(&path), Err(BindError::Live(_))));
        drop(first);
        let _second = Server::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_is_never_replaced() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("switcher.sock");
        fs::write(&path, "kept").unwrap();
        assert!(matches!(Server::bind(&path), Err(BindError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }
}
