//! Which text goes to which stream. With `--json`, stdout has one document and nothing else.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;

use crate::api::ApiError;

/// Decides every stream.
#[derive(Debug)]
pub(super) struct Printer {
    json: bool,
    /// A person watches: progress is drawn again and again in its place.
    live: bool,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            live: stderr().is_terminal(),
        }
    }

    /// The result: the document with `--json`, else the text.
    pub(super) fn result(&self, document: &impl Serialize, text: &str) {
        if self.json {
            self.document(document);
        } else {
            out(&format!("{}\n", text.trim_end()));
        }
    }

    /// A document of which there is nothing to read for people.
    pub(super) fn document_of(&self, document: &impl Serialize) {
        if self.json {
            self.document(document);
        }
    }

    /// One look of several: a document a line with `--json`; on a terminal the page in the place of the last one; else
    /// lines for a log.
    pub(super) fn frame(
        &self,
        document: &impl Serialize,
        page: impl FnOnce() -> String,
        lines: impl FnOnce() -> String,
    ) -> Reader {
        let text = if self.json {
            json_line(document)
        } else if stdout().is_terminal() {
            screen(
                &page(),
                terminal_size::terminal_size().map(|(w, h)| (w.0.into(), h.0.into())),
            )
        } else {
            lines()
        };
        let mut stream = stdout().lock();
        match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
            Ok(()) => Reader::Reads,
            Err(_) => Reader::HasGone,
        }
    }

    /// An error: on stderr, and with `--json` as the document too.
    pub(super) fn error(&self, error: &ApiError) {
        if self.json {
            self.document(error);
        }
        err(&format!("switcher: {}\n", error.message));
    }

    /// Something to know beside the result.
    pub(super) fn note(&self, text: &str) {
        err(&format!("switcher: {text}\n"));
    }

    /// How far it is, a line each, for a log.
    #[allow(clippy::unused_self)]
    pub(super) fn progress(&self, text: &str) {
        err(&format!("{text}\n"));
    }

    /// True where each progress is drawn over the last.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    #[allow(clippy::unused_self)]
    fn document(&self, document: &impl Serialize) {
        out(&json_line(document));
    }
}

/// Whoever reads stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// It took what was written.
    Reads,
    /// It has gone (`| head`).
    HasGone,
}

fn json_line(document: &impl Serialize) -> String {
    let mut text = serde_json::to_string(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    text.push('\n');
    text
}

/// A page that begins at the top, wipes what an earlier one left, and never scrolls: what does not fit is cut.
fn screen(page: &str, size: Option<(usize, usize)>) -> String {
    let (columns, rows) = size.unwrap_or((usize::MAX, usize::MAX));
    let mut text = String::from("\x1b[H");
    for line in page.trim_end().lines().take(rows.saturating_sub(1).max(1)) {
        let end = line.char_indices().nth(columns).map_or(line.len(), |(at, _)| at);
        let _ = writeln!(text, "{}\x1b[K", &line[..end]);
    }
    text.push_str("\x1b[J");
    text
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

#[cfg(test)]
mod tests {
    use super::screen;

    #[test]
    fn a_page_is_cut_to_the_screen_and_wipes_the_last_one() {
        let page = "one\ntwo ä three\nfour\n";
        assert_eq!(
            screen(page, None),
            "\x1b[Hone\x1b[K\ntwo ä three\x1b[K\nfour\x1b[K\n\x1b[J"
        );
        assert_eq!(screen(page, Some((5, 3))), "\x1b[Hone\x1b[K\ntwo ä\x1b[K\n\x1b[J");
    }
}
