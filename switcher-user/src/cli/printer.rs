//! Which text goes to which stream. With `--json`, stdout has one document and nothing else.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;

use crate::api::ApiError;

/// Decides every stream.
#[derive(Debug)]
pub(super) struct Printer {
    json: bool,
    /// A person watches: progress is one line, drawn again and again.
    live: bool,
    /// A progress line is on the screen.
    drawn: Cell<bool>,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            live: stderr().is_terminal(),
            drawn: Cell::new(false),
        }
    }

    /// The result: the document with `--json`, else the text.
    pub(super) fn result(&self, document: &impl Serialize, text: &str) {
        self.wipe();
        if self.json {
            self.document(document);
        } else {
            out(&format!("{}\n", text.trim_end()));
        }
    }

    /// An error: on stderr, and with `--json` as the document too.
    pub(super) fn error(&self, error: &ApiError) {
        self.wipe();
        if self.json {
            self.document(error);
        }
        err(&format!("switcher: {}\n", error.message));
    }

    /// Something to know beside the result.
    pub(super) fn note(&self, text: &str) {
        self.wipe();
        err(&format!("switcher: {text}\n"));
    }

    /// How far it is.
    pub(super) fn progress(&self, text: &str) {
        if self.live {
            err(&format!("\r\x1b[2K{text}"));
            self.drawn.set(true);
        } else {
            err(&format!("{text}\n"));
        }
    }

    /// True where each progress is drawn over the last.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    #[allow(clippy::unused_self)]
    fn document(&self, document: &impl Serialize) {
        let text = serde_json::to_string(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        out(&format!("{text}\n"));
    }

    fn wipe(&self) {
        if self.drawn.replace(false) {
            err("\r\x1b[2K");
        }
    }
}

/// A reader that has gone (`| head`) is no error of ours.
fn out(text: &str) {
    let mut stream = stdout().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

fn err(text: &str) {
    let mut stream = stderr().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
