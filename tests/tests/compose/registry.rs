//! A registry with one image in it: nginx, and the files that the registry's protocol asks for.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use switcher_tests::interrupt;
use switcher_tests::lab::{Process, run};

use crate::docker::Site;

const LIMIT: Duration = Duration::from_secs(30);
const NGINX: &str = "daemon off; user root; worker_processes 1; pid DIR/pid; error_log DIR/error;
events { worker_connections 100; }
http {
    access_log off; default_type application/octet-stream;
    client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
    server {
        listen 127.0.0.1:5000; root DIR/files;
        location = /v2/ { return 200 \"{}\"; }
        location /v2/app/manifests/ { default_type application/vnd.docker.distribution.manifest.v2+json; }
    }
}
";

/// Serves what `local` is as `127.0.0.1:5000/app:latest` to the site's Docker, until it is dropped.
pub fn serve(site: &Site, local: &str) -> Process {
    let dir = site.lab.dir().join("registry");
    let files = dir.join("files/v2/app");
    for folder in ["saved", "files/v2/app/blobs", "files/v2/app/manifests"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let saved = dir.join("saved");
    let tar = dir.join("image.tar");
    site.dockerd.docker(&format!("save -o {} {local}", tar.display()));
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(&saved).arg("-xf").arg(&tar);
    run(&mut unpack, LIMIT).unwrap().expect_code(&[0]).unwrap();
    let index: Value = serde_json::from_slice(&fs::read(saved.join("manifest.json")).unwrap()).unwrap();
    let blob = |file: &Value, kind: &str| {
        let file = saved.join(file.as_str().unwrap());
        let digest = digest(&file);
        fs::copy(&file, files.join("blobs").join(&digest)).unwrap();
        json!({"mediaType": kind, "size": fs::metadata(&file).unwrap().len(), "digest": digest})
    };
    let config = blob(&index[0]["Config"], "application/vnd.docker.container.image.v1+json");
    let layers = index[0]["Layers"].as_array().unwrap().iter();
    let layers: Vec<Value> = layers
        .map(|layer| blob(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip"))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": config,
        "layers": layers,
    });
    let by_name = files.join("manifests/latest");
    fs::write(&by_name, manifest.to_string()).unwrap();
    // Asked for by its name first, then by what it is.
    fs::copy(&by_name, files.join("manifests").join(digest(&by_name))).unwrap();
    let settings = dir.join("nginx.conf");
    fs::write(&settings, NGINX.replace("DIR", &dir.display().to_string())).unwrap();
    let mut command = site.lab.host().server("nginx");
    command.arg("-c").arg(&settings).arg("-e").arg(dir.join("error"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let registry = Process::spawn("the registry", &mut command, Signal::SIGTERM).unwrap();
    interrupt::wait_for("the registry answers", LIMIT, || {
        let asked = ["curl", "-sS", "http://127.0.0.1:5000/v2/"];
        Ok(site.lab.host().run(&asked)?.code == 0)
    })
    .unwrap();
    registry
}

fn digest(file: &Path) -> String {
    let said = run(Command::new("sha256sum").arg(file), LIMIT).unwrap();
    let said = said.expect_code(&[0]).unwrap().stdout;
    format!("sha256:{}", said.split_whitespace().next().unwrap())
}
