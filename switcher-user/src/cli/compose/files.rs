//! Which files, and the project's name.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::variables::Variables;
use crate::api::{ApiError, ErrorCode};
use crate::compose::{self, Project, SourceFile, Surroundings};
use crate::config::{ConfigError, FILE_BYTES_MAX};
use crate::model::StackName;

/// Looked for in this order where no file is named.
const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
const RANCHER_FILES: [&str; 2] = ["rancher-compose.yml", "rancher-compose.yaml"];
const FILE_VARIABLE: &str = "COMPOSE_FILE";
const SEPARATOR_VARIABLE: &str = "COMPOSE_PATH_SEPARATOR";
const PROJECT_VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// `-f` and its like.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// A compose file, or - for standard input; again for more [default: those of COMPOSE_FILE, else compose.yaml or
    /// docker-compose.yml here].
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The rancher-compose.yml [default: the one beside the first compose file].
    #[arg(short = 'r', long, value_name = "FILE")]
    rancher_file: Option<PathBuf>,
    /// The project's name: the stack that owns its aliases [default: COMPOSE_PROJECT_NAME, else 'name:' in the file, else
    /// the folder's name].
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<StackName>,
}

/// Files that were read.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What they ask for.
    pub project: Project,
    /// The project's name.
    pub name: StackName,
}

impl FileArgs {
    /// Reads and checks them.
    pub(super) fn load(&self) -> Result<Loaded, ApiError> {
        let files = self.named()?;
        let folder = folder_of(&files[0]);
        let folder = folder.canonicalize().unwrap_or(folder);
        let variables = Variables::of(&folder_of(&files[0]))?;
        let sources = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let rancher = match &self.rancher_file {
            Some(file) => Some(read(file)?),
            None => {
                let beside = RANCHER_FILES
                    .iter()
                    .map(|name| folder_of(&files[0]).join(name))
                    .find(|file| file.is_file());
                beside.as_deref().map(read).transpose()?
            }
        };
        let around = Surroundings {
            variable: &|name| variables.get(name),
            file: &read_text,
            folder: &folder,
        };
        let project = compose::parse(&sources, rancher.as_ref(), &around).map_err(invalid)?;
        let name = match (&self.project_name, variables.filled(PROJECT_VARIABLE), &project.name) {
            (Some(name), _, _) => name.clone(),
            (None, Some(text), _) => text
                .parse()
                .map_err(|error| wrong(format!("{PROJECT_VARIABLE}: {error}")))?,
            (None, None, Some(name)) => name.clone(),
            (None, None, None) => name_of(&folder)?,
        };
        Ok(Loaded { project, name })
    }

    /// `-f`, else what COMPOSE_FILE names, else one of the usual names; at least one.
    fn named(&self) -> Result<Vec<PathBuf>, ApiError> {
        if !self.files.is_empty() {
            let of_stdin = self.files.iter().filter(|file| is_stdin(file)).count();
            if of_stdin > 1 {
                return Err(wrong(
                    "-f - stands twice, and standard input is read once; keep one".to_owned(),
                ));
            }
            return Ok(self.files.clone());
        }
        let here = Variables::of(Path::new("."))?;
        let Some(named) = here.filled(FILE_VARIABLE) else {
            return Ok(vec![default_file()?]);
        };
        let separator = here.filled(SEPARATOR_VARIABLE).unwrap_or_else(|| ":".to_owned());
        let files: Vec<PathBuf> = named
            .split(separator.as_str())
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
            .collect();
        if files.is_empty() {
            return Err(wrong(format!(
                "{FILE_VARIABLE} is '{named}', which names no file; name one"
            )));
        }
        Ok(files)
    }
}

pub(super) fn wrong(text: String) -> ApiError {
    ApiError::new(ErrorCode::Invalid, text)
}

pub(super) fn invalid(error: ConfigError) -> ApiError {
    ApiError {
        field: Some(error.field().to_owned()),
        ..wrong(error.to_string())
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn default_file() -> Result<PathBuf, ApiError> {
    let found = DEFAULT_FILES.iter().map(PathBuf::from).find(|file| file.is_file());
    found.ok_or_else(|| {
        wrong(format!(
            "there is no {} here; name a file with -f",
            DEFAULT_FILES.join(", ")
        ))
    })
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn read(file: &Path) -> Result<SourceFile, ApiError> {
    if is_stdin(file) {
        let name = "<stdin>".to_owned();
        let text = text_of(std::io::stdin().lock()).map_err(|why| wrong(format!("{name}: {why}")))?;
        return Ok(SourceFile { name, text });
    }
    let name = file.display().to_string();
    let refuse = |why: String| wrong(format!("{name}: {why}; name a compose file with -f"));
    match read_text(file).map_err(refuse)? {
        Some(text) => Ok(SourceFile { name, text }),
        None => Err(refuse("there is no such file".to_owned())),
    }
}

/// What stands in a file; `None`: there is none.
pub(super) fn read_text(file: &Path) -> Result<Option<String>, String> {
    match File::open(file) {
        Ok(file) => text_of(file).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn text_of(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than may be, so that a file that is too large is seen as such.
    let read = from.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// As docker-compose names it: the folder, in small letters, without what no name has.
fn name_of(folder: &Path) -> Result<StackName, ApiError> {
    let path = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().filter(kept).collect();
    let name = name.trim_start_matches(['-', '_']);
    name.parse().map_err(|_| {
        wrong(format!(
            "the folder {} gives the project no name; say one with --project-name",
            path.display()
        ))
    })
}
