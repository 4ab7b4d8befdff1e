//! Where the agent is.

use std::path::PathBuf;

use clap::Args;

use crate::api::SOCKET_PATH;

/// `--host`.
#[derive(Clone, Debug, Args)]
pub(super) struct HostArgs {
    /// The agent's socket.
    #[arg(
        long = "host",
        global = true,
        env = "SWITCHER_HOST",
        value_name = "unix:///PATH",
        default_value_t = format!("unix://{SOCKET_PATH}"),
        value_parser = checked
    )]
    host: String,
}

impl HostArgs {
    /// Path of the socket.
    pub(super) fn socket(&self) -> PathBuf {
        PathBuf::from(path_of(&self.host).unwrap_or_default())
    }
}

fn path_of(host: &str) -> Option<&str> {
    host.strip_prefix("unix://").filter(|path| path.starts_with('/'))
}

fn checked(text: &str) -> Result<String, String> {
    match path_of(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "'{text}' is no place of an agent; write it as unix://{SOCKET_PATH}"
        )),
    }
}
