//! The unix socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
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
    file: SocketFile,
}

/// The socket's file. It goes when this goes, however the start or the end went, unless it is another agent's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |there: fs::Metadata| (there.dev(), there.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
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
        let placed = fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::symlink_metadata(&hidden))
            .and_then(|metadata| fs::rename(&hidden, path).map(|()| metadata));
        let metadata = placed.map_err(|cause| {
            let _ = fs::remove_file(&hidden);
            failed(cause)
        })?;
        let file = SocketFile {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        Ok(Self { listener, file })
    }

    /// Serves until `stop` fires or is dropped; then no new connection is taken, and the socket is removed.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub async fn serve(self, agent: mpsc::Sender<Envelope>, stop: oneshot::Receiver<()>) -> io::Result<()> {
        let service = router(agent).into_make_service_with_connect_info::<Peer>();
        let _file = self.file;
        axum::serve(self.listener, service)
            .with_graceful_shutdown(async move {
                let _ = stop.await;
            })
            .await
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
        // As a killed agent leaves it.
        drop(fs::remove_file(&path));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let _second = Server::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn only_our_own_socket_is_removed_at_the_end() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("switcher.sock");
        let serve = |server: Server| async {
            let (commands, _inbox) = mpsc::channel(1);
            let (stop, stopped) = oneshot::channel();
            drop(stop);
            server.serve(commands, stopped).await.unwrap();
        };
        serve(Server::bind(&path).unwrap()).await;
        assert!(!path.exists());
        let old = Server::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _new = Server::bind(&path).unwrap();
        serve(old).await;
        assert!(path.exists(), "it is the next agent's");
        let unserved = directory.path().join("other.sock");
        drop(Server::bind(&unserved).unwrap());
        assert!(!unserved.exists(), "a start that failed leaves none");
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
