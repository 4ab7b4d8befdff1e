use std::fs;

use tempfile::TempDir;

use super::*;
use crate::model::{Action, Caller, Outcome};

fn receipt() -> Receipt {
    Receipt {
        schema: 1,
        id: None,
        action: Action::Split,
        outcome: Outcome::Done,
        exit_code: 0,
        message: String::new(),
        caller: Caller::default(),
        user: None,
        host: None,
        left: Vec::new(),
        failures: Vec::new(),
        started_at: String::new(),
        command_us: 0,
        aliases: Vec::new(),
        epoch_before: 0,
        epoch_after: 1,
        first_flip: None,
        flip: None,
        flip_back: None,
        sets: Vec::new(),
        last_new_flows: Vec::new(),
        drain: None,
        steps: Vec::new(),
        unpinned_flows: 0,
        statements: Vec::new(),
        warnings: Vec::new(),
    }
}

#[test]
fn what_is_saved_is_loaded() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.load().unwrap(), Desired::default());
    let desired = Desired {
        epoch: 7,
        ..Desired::default()
    };
    store.save(&desired).unwrap();
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.load().unwrap(), desired);
}

#[test]
fn the_old_file_is_never_written_to() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let path = directory.path().join("desired.json");
    store.save(&Desired::default()).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    let old = fs::File::open(&path).unwrap();
    store
        .save(&Desired {
            epoch: 7,
            ..Desired::default()
        })
        .unwrap();
    assert_eq!(
        io::read_to_string(old).unwrap(),
        before,
        "who opened it before still reads it whole"
    );
}

#[test]
fn a_second_agent_is_refused_with_the_firsts_pid() {
    let directory = TempDir::new().unwrap();
    let _first = Store::open(directory.path()).unwrap();
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(error.contains("--state-dir"), "{error}");
}

#[test]
fn damaged_files_are_named_with_a_remedy() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let path = directory.path().join("desired.json");
    for text in [
        "",
        "{",
        "[]",
        "{\"schema\": 2}",
        "{\"schema\": 1, \"epoch\": -1}",
        "{\"schema\": 1, \"extra\": 1}",
    ] {
        fs::write(&path, text).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(
            error.contains("desired.json") && error.contains("switcher detach") && error.contains("move it away"),
            "{text}: {error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "the file is left as it is");
    }
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.save(&Desired::default()).unwrap();
    // A directory in the file's place: the rename fails, after the write.
    let path = directory.path().join("desired.json");
    let kept = fs::read(&path).unwrap();
    fs::rename(&path, directory.path().join("kept")).unwrap();
    fs::create_dir(&path).unwrap();
    let error = store
        .save(&Desired {
            epoch: 9,
            ..Desired::default()
        })
        .unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
    assert_eq!(fs::read(directory.path().join("kept")).unwrap(), kept);
    let leftovers = fs::read_dir(directory.path()).unwrap();
    let leftovers = leftovers.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".writing")
    });
    assert_eq!(leftovers.count(), 0, "nothing half written stays");
}

#[test]
fn leftovers_of_a_killed_agent_go() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join(".writing-x"), "half").unwrap();
    let _store = Store::open(directory.path()).unwrap();
    assert!(!directory.path().join(".writing-x").exists());
}

#[test]
fn receipts_are_numbered_and_bounded() {
    let directory = TempDir::new().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    for expected in 1..=3 {
        let mut one = receipt();
        store.put_receipt(&mut one).unwrap();
        assert_eq!(one.id, Some(expected));
    }
    let newest: Vec<_> = store.newest_receipts(2).into_iter().map(|one| one.id).collect();
    assert_eq!(newest, [Some(3), Some(2)]);
    assert!(matches!(store.receipt(9), Err(StoreError::NoReceipt { id: 9 })));
    // The thousand-and-first pushes the first out.
    for id in 4..=1_000 {
        fs::copy(
            directory.path().join("receipts/00000003.json"),
            directory.path().join(format!("receipts/{id:08}.json")),
        )
        .unwrap();
    }
    drop(store);
    let mut store = Store::open(directory.path()).unwrap();
    store.put_receipt(&mut receipt()).unwrap();
    assert!(matches!(store.receipt(1), Err(StoreError::NoReceipt { .. })));
    assert!(!directory.path().join("receipts/00000001.json").exists());
    assert_eq!(store.receipt(1_001).unwrap().id, Some(1_001));
}

#[test]
fn a_receipt_with_a_number_replaces_its_own() {
    let directory = TempDir::new().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut one = receipt();
    store.put_receipt(&mut one).unwrap();
    store.put_receipt(&mut receipt()).unwrap();
    one.message = "it has ended".to_owned();
    store.put_receipt(&mut one).unwrap();
    assert_eq!(one.id, Some(1));
    assert_eq!(store.receipt(1).unwrap(), one);
    assert_eq!(store.newest_receipts(9).len(), 2);
}

#[test]
fn receipts_are_kept_again_after_their_folder_was_removed() {
    let directory = TempDir::new().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    store.put_receipt(&mut receipt()).unwrap();
    fs::remove_dir_all(directory.path().join("receipts")).unwrap();
    let mut two = receipt();
    store.put_receipt(&mut two).unwrap();
    assert_eq!(store.receipt(2).unwrap(), two);
}

#[test]
fn a_damaged_receipt_is_no_reason_to_detach() {
    let directory = TempDir::new().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    store.put_receipt(&mut receipt()).unwrap();
    fs::write(directory.path().join("receipts/00000001.json"), "{").unwrap();
    let error = store.receipt(1).unwrap_err().to_string();
    assert!(error.contains("00000001.json") && !error.contains("detach"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_synced_leaves_the_old_file_or_says_that_it_does_not_know() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("desired.json");
    let failing = |_: &Path| Err(io::Error::other("as the test asked"));
    let first = atomic::write_json_with(&path, &1, failing).unwrap_err();
    assert!(matches!(first, StoreError::Unwritable { .. }), "{first}");
    assert!(!path.exists(), "there was none before");
    atomic::write_json(&path, &1).unwrap();
    let second = atomic::write_json_with(&path, &2, failing).unwrap_err();
    assert!(matches!(second, StoreError::Unwritable { .. }), "{second}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}
