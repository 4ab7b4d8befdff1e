//! Which files, and the project's name.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::api::{ApiError, ErrorCode};
use crate::compose::{self, Project, SourceFile};
use crate::config::FILE_BYTES_MAX;
use crate::model::StackName;

/// Looked for in this order where no file is named.
const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
const RANCHER_FILES: [&str; 2] = ["rancher-compose.yml", "rancher-compose.yaml"];

/// `-f` and its like.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// A compose file; again for more [default: compose.yaml or docker-compose.yml here].
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The rancher-compose.yml [default: the one beside the first compose file].
    #[arg(short = 'r', long, value_name = "FILE")]
    rancher_file: Option<PathBuf>,
    /// The project's name: the stack that owns its aliases [default: 'name:' in the file, else the folder's name].
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
        let files = if self.files.is_empty() {
            vec![default_file()?]
        } else {
            self.files.clone()
        };
        let folder = folder_of(&files[0]);
        let sources = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let rancher = match &self.rancher_file {
            Some(file) => Some(read(file)?),
            None => {
                let beside = RANCHER_FILES
                    .iter()
                    .map(|name| folder.join(name))
                    .find(|file| file.is_file());
                beside.as_deref().map(read).transpose()?
            }
        };
        let variable = |name: &str| std::env::var(name).ok();
        let project = compose::parse(&sources, rancher.as_ref(), &variable).map_err(|error| ApiError {
            field: Some(error.field().to_owned()),
            ..ApiError::new(ErrorCode::Invalid, error.to_string())
        })?;
        let name = match self.project_name.clone().or_else(|| project.name.clone()) {
            Some(name) => name,
            None => name_of(&folder)?,
        };
        Ok(Loaded { project, name })
    }
}

fn wrong(text: String) -> ApiError {
    ApiError::new(ErrorCode::Invalid, text)
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
    let shown = file.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than may be, so that a file that is too large is seen as such.
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| wrong(format!("{shown}: {error}; name a compose file with -f")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| wrong(format!("{shown}: it is not UTF-8 text; a compose file is YAML")))?;
    Ok(SourceFile { name: shown, text })
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
