//! Where words go, and whether they may move and have colour.

use std::env;
use std::io::{self, IsTerminal, Write};

/// stdout, or stderr when stdout is for a document.
#[derive(Debug)]
pub struct Console {
    to_stderr: bool,
    terminal: bool,
    colour: bool,
    live: bool,
}

/// What a word means; never said by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Old,
    New,
    Good,
    Bad,
    Dim,
    Strong,
}

impl Console {
    /// With `json`, all words go to stderr.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let terminal = if json {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        let colour = terminal && env::var_os("NO_COLOR").is_none();
        Self {
            to_stderr: json,
            terminal,
            colour,
            live: false,
        }
    }

    /// Whether a person looks at it.
    pub(super) fn terminal(&self) -> bool {
        self.terminal
    }

    /// One line; an empty one parts.
    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        let clear = self.clear();
        self.write(&format!("{clear}{}\n", text.as_ref()));
    }

    /// A line that the next one replaces; nothing where it could not be replaced.
    pub(super) fn live(&mut self, text: impl AsRef<str>) {
        if self.terminal {
            let clear = self.clear();
            self.write(&format!("{clear}{}", text.as_ref()));
            self.live = true;
        }
    }

    /// The text in its tone.
    pub(super) fn tone(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Old => "34",
            Tone::New => "36",
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn clear(&mut self) -> &'static str {
        if std::mem::take(&mut self.live) {
            "\r\x1b[2K"
        } else {
            ""
        }
    }

    /// A reader that is gone is no reason to fail: the checks go on.
    fn write(&self, text: &str) {
        let _ = if self.to_stderr {
            io::stderr().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let clear = self.clear();
        if !clear.is_empty() {
            self.write(clear);
        }
    }
}
