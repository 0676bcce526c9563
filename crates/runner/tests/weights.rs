//! `colormamba weights`: what is known, what a file holds, a copy that stands for itself.

use crate::common::{fail, says, succeed, write_weights};
use std::fs;
use tempfile::tempdir;

#[test]
fn the_list_says_what_is_there() {
    let folder = tempdir().unwrap();
    let text = succeed(folder.path(), &["weights", "list"]);
    says(&text, &["vgg19", "not there", "efficientnet-lite0", "autoencoder", "by hand"]);
    fs::create_dir(folder.path().join("w")).unwrap();
    fs::write(folder.path().join("w/efficientnet-lite0.safetensors"), "").unwrap();
    let text = succeed(folder.path(), &["weights", "list", "--weights", "w"]);
    let line = text.lines().find(|line| line.starts_with("efficientnet-lite0")).unwrap();
    assert!(line.contains(" there ") && !line.contains("not there"), "{line}");
}

#[test]
fn an_export_holds_the_network_alone_and_is_read_like_what_it_was_made_of() {
    let folder = tempdir().unwrap();
    write_weights(&folder.path().join("own.safetensors"), 8);
    let export = |extra: &[&'static str]| {
        [&["weights", "export", "own.safetensors", "--out", "out.safetensors"], extra].concat()
    };
    assert_eq!(succeed(folder.path(), &export(&["--f16"])), "out.safetensors\n");
    let (own, out) = ("own.safetensors", "out.safetensors");
    let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
    assert!(size(out) < size(own) * 6 / 10, "{} of {}", size(out), size(own));

    let inspected = |name: &str| {
        let text = succeed(folder.path(), &["weights", "inspect", name, "--json"]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let (before, after) = (inspected(own), inspected(out));
    for same in ["network", "tensors", "numbers"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(after["header"]["exported_from"], before["digest"]);
    assert!(after["types"].as_array().unwrap().contains(&"f16".into()), "{after}");
    says(&succeed(folder.path(), &["weights", "verify", out]), &["colormamba with", "holds", "  protocol = "]);

    says(&fail(folder.path(), 2, &export(&[])), &["out.safetensors", "--force"]);
    succeed(folder.path(), &export(&["--force"]));
    assert!(size(out) > size(own) * 9 / 10, "f32 again");
    succeed(folder.path(), &export(&["--force", "--int8"]));
    assert!(size(out) < size(own) * 5 / 10, "{} of {}", size(out), size(own));
    let bytes = inspected(out);
    for same in ["network", "tensors", "numbers"] {
        assert_eq!(before[same], bytes[same], "{same}");
    }
    says(&fail(folder.path(), 2, &export(&["--force", "--int8", "--f16"])), &["cannot be used with"]);
}

#[test]
fn a_file_that_is_damaged_is_not_verified() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("own.safetensors");
    write_weights(&path, 8);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    for command in ["verify", "inspect"] {
        says(&fail(folder.path(), 1, &["weights", command, "own.safetensors"]), &["own.safetensors", "damaged"]);
    }
    says(&fail(folder.path(), 1, &["weights", "export", "own.safetensors", "--out", "o"]), &["damaged"]);
    assert!(!folder.path().join("o").exists());
}
