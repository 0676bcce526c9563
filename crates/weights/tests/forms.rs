//! The forms of files that people have, and what is said of those that are none.

use candle_core::{DType, Device, Tensor};
use colormamba_weights::{ReadError, WeightFile};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all());
    tensor.and_then(|tensor| tensor.to_vec1()).expect("a tensor of numbers")
}

fn value(file: &WeightFile, name: &str) -> Option<Vec<f32>> {
    file.tensor(name).expect("readable").as_ref().map(values)
}

/// What all forms hold; every type has these numbers exactly.
fn check(file: &WeightFile, name: &str) {
    let weight = file.tensor("conv.weight").expect("readable").unwrap_or_else(|| panic!("{name}: no weight"));
    assert_eq!((weight.dims(), weight.dtype()), (&[2, 3][..], DType::F32), "{name}");
    assert_eq!(values(&weight), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], "{name}");
    assert_eq!(value(file, "conv.bias"), Some(vec![0.5, -1.0]), "{name}");
    let counter = file.tensor("norm.num_batches_tracked").expect("readable").expect("a counter");
    assert_eq!((counter.dtype(), counter.dims().len(), values(&counter)), (DType::I64, 0, vec![7.0]), "{name}");
}

fn tensors() -> HashMap<String, Tensor> {
    let weight = Tensor::from_vec(vec![-2.5f32, -1.5, -0.5, 0.5, 1.5, 2.5], (2, 3), &Device::Cpu);
    let bias = Tensor::new(&[0.5f32, -1.0], &Device::Cpu);
    let counter = Tensor::new(7i64, &Device::Cpu);
    [("conv.weight", weight), ("conv.bias", bias), ("norm.num_batches_tracked", counter)]
        .map(|(name, tensor)| (name.to_string(), tensor.expect("numbers")))
        .into()
}

/// Wrappers, prefixes and types in both forms of PyTorch's files, under a name that says nothing.
#[test]
fn every_form_gives_the_same_tensors() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("text");
        if !name.ends_with(".zip.pt") && !name.ends_with(".legacy.pt") {
            continue;
        }
        let renamed = folder.path().join("weights.safetensors");
        std::fs::copy(&path, &renamed)?;
        check(&WeightFile::open(&renamed)?, name);
        let all = WeightFile::open(&renamed)?.tensors("conv.weight")?;
        assert_eq!(all.keys().collect::<Vec<_>>(), ["conv.bias", "conv.weight", "norm.num_batches_tracked"], "{name}");
        assert!(all.values().all(|tensor| matches!(tensor.dtype(), DType::F32 | DType::I64)), "{name}");
        count += 1;
    }
    assert_eq!(count, 23);
    Ok(())
}

#[test]
fn safetensors_are_known_by_content_with_any_prefix_and_type() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.pth");
    for prefix in ["", "module.", "_orig_mod.", "netG.", "module._orig_mod.", "netG.module."] {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            let typed = |(name, tensor): (String, Tensor)| {
                let float = tensor.dtype().is_float();
                Ok((format!("{prefix}{name}"), if float { tensor.to_dtype(dtype)? } else { tensor }))
            };
            let tensors = tensors().into_iter().map(typed).collect::<candle_core::Result<HashMap<_, _>>>()?;
            candle_core::safetensors::save(&tensors, &path)?;
            let file = WeightFile::open(&path)?;
            check(&file, &format!("{prefix} {dtype:?}"));
            let stored = file.as_stored()?;
            assert_eq!(stored[&format!("{prefix}conv.weight")].dtype(), dtype);
        }
    }
    Ok(())
}

/// Of the averaged and the trained weights, all come from the averaged ones.
#[test]
fn tensors_of_two_places_are_not_mixed() -> Outcome {
    let file = WeightFile::open(&fixtures().join("gan.zip.pt"))?;
    assert!(value(&file, "conv.weight").is_some());
    assert!(file.tensor("netD.conv.weight")?.is_none(), "a discriminator's");
    let file = WeightFile::open(&fixtures().join("gan.zip.pt"))?;
    assert!(file.tensor("netD.conv.weight")?.is_some(), "asked for by its name in the file");
    Ok(())
}

/// Averaged weights beside the trained ones make another picture.
#[test]
fn what_is_passed_over_is_told() -> Outcome {
    for name in ["ema.zip.pt", "ema.legacy.pt"] {
        let file = WeightFile::open(&fixtures().join(name))?;
        let wanted = "the tensors under `params_ema` are taken, not those of the same names under `params`";
        assert_eq!(file.passed_over("conv.weight").as_deref(), Some(wanted), "{name}");
        // Those of the place that is preferred where nothing has that name.
        assert_eq!(file.passed_over("no.such.weight").as_deref(), Some(wanted), "{name}");
    }
    for name in ["plain.zip.pt", "nested.zip.pt", "gan.zip.pt", "module.zip.pt"] {
        assert_eq!(WeightFile::open(&fixtures().join(name))?.passed_over("conv.weight"), None, "{name}");
    }
    Ok(())
}

/// Parameters and tensors that share a storage, under a key, beside things that are no tensors.
#[test]
fn reads_what_python_3_wrote() -> Outcome {
    let file = WeightFile::open(&fixtures().join("python3.pt"))?;
    assert_eq!(value(&file, "parameter"), Some(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!(value(&file, "rows"), Some(vec![2.0, 3.0, 4.0, 5.0]));
    assert_eq!(file.tensor("rows")?.expect("rows").dims(), [2, 2]);
    assert_eq!(file.tensor("doubles")?.expect("doubles").dtype(), DType::F32);
    // A tensor whose elements do not follow one another: the transpose of rows of its storage.
    let columns = file.tensor("columns")?.expect("columns");
    let (rows, across) = columns.dims2()?;
    assert!(rows > 1 && across > 1, "{columns:?}");
    let numbers = columns.to_vec2::<f32>()?;
    let step = numbers[0][1] - numbers[0][0];
    assert!(
        step > 1.0 && numbers.iter().all(|row| row.windows(2).all(|pair| pair[1] - pair[0] == step)),
        "{numbers:?}"
    );
    Ok(())
}

/// The published linear weights of LPIPS come from Python 2; what they were converted to are those of the repository.
#[test]
fn reads_what_python_2_wrote() -> Outcome {
    let file = WeightFile::open(&fixtures().join("../../../features/tests/fixtures/python2.pt"))?;
    let converted: &[u8] = include_bytes!("../../../weights/lpips/alex.safetensors");
    let converted = WeightFile::of_bytes(converted)?.as_stored()?;
    for (name, want) in &converted {
        let got = file.tensor(&format!("{name}.model.1.weight"))?.expect("in the file");
        assert_eq!(got.dims(), [1, want.elem_count(), 1, 1], "{name}");
        assert_eq!(values(&got), values(want), "{name}");
    }
    assert_eq!(converted.len(), file.as_stored()?.len());
    assert!(file.tensor("lin9.model.1.weight")?.is_none());
    Ok(())
}

#[test]
fn a_file_cut_anywhere_is_an_error() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cut");
    let safe = folder.path().join("whole");
    candle_core::safetensors::save(&tensors(), &safe)?;
    for whole in [safe, fixtures().join("plain.zip.pt"), fixtures().join("plain.legacy.pt")] {
        let whole = std::fs::read(whole)?;
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length])?;
            assert!(WeightFile::open(&path).is_err(), "{length} bytes");
        }
    }
    Ok(())
}

/// A bit that has changed in a storage or in the object makes other numbers, or other names.
#[test]
fn a_bit_that_has_changed_is_seen() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("flipped");
    let whole = std::fs::read(fixtures().join("plain.zip.pt"))?;
    let value = 1.5f32.to_le_bytes();
    let number = whole.windows(4).position(|bytes| bytes == value).expect("a weight");
    let name = whole.windows(9).position(|bytes| bytes == b"conv.bias").expect("a name");
    for (at, entry) in [(number, "data/0"), (name, "data.pkl")] {
        let mut flipped = whole.clone();
        flipped[at + 2] ^= 1;
        std::fs::write(&path, flipped)?;
        let text = WeightFile::open(&path).err().expect("an error").to_string();
        assert!(text.contains(&format!("{entry}` is not what its checksum says")), "{text}");
    }
    Ok(())
}

/// Entries that share their bytes would be read again and again.
#[test]
fn entries_that_lie_over_one_another_are_refused() -> Outcome {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    writer.start_file("data.pkl", stored)?;
    writer.write_all(&[0; 5000])?;
    let whole = writer.finish()?.into_inner();
    let at = |mark: &[u8]| whole.windows(4).rposition(|bytes| bytes == mark).expect("a mark");
    let (start, end) = (at(b"PK\x01\x02"), at(b"PK\x05\x06"));
    // A second line of the directory, for the same bytes.
    let line = &whole[start..end];
    let other = [&line[..46], b"data/0_1", &line[54..]].concat();
    let mut tail = whole[end..].to_vec();
    (tail[8], tail[10], tail[12]) = (2, 2, 2 * tail[12]);
    let text = error([&whole[..end], &other, &tail].concat());
    assert_eq!(text, "its entry `data/0_1` lies over others");
    Ok(())
}

fn error(content: impl Into<Vec<u8>>) -> String {
    let content: Vec<u8> = content.into();
    WeightFile::of_bytes(content).err().expect("an error").to_string()
}

#[test]
fn what_is_no_file_of_weights_is_said_to_be_none() -> Outcome {
    assert_eq!(error(""), "it is empty");
    let text = error("<!DOCTYPE html><html>");
    assert!(
        text.contains("neither a safetensors file nor one of PyTorch") && text.contains("<!DOCTYPE html>"),
        "{text}"
    );
    let folder = tempfile::tempdir()?;
    assert!(matches!(WeightFile::open(folder.path()), Err(ReadError::NoFile)));
    assert!(matches!(WeightFile::open(&folder.path().join("none")), Err(ReadError::Io(_))));
    Ok(())
}

#[test]
fn what_a_file_holds_is_told_with_the_nearest_name() -> Outcome {
    let file = WeightFile::open(&fixtures().join("module.zip.pt"))?;
    assert!(file.tensor("conv.weights")?.is_none());
    let found = file.found("conv.weights");
    assert_eq!(found, "it is a file of PyTorch with 3 tensors under `state_dict`, the nearest is `conv.weight`");
    let found = WeightFile::of_bytes(safetensors(&tensors()))?.found("x");
    assert_eq!(found, "it is a safetensors file with 3 tensors, the first is `conv.bias`");
    Ok(())
}

fn safetensors(tensors: &HashMap<String, Tensor>) -> Vec<u8> {
    safetensors::serialize(tensors, None).expect("tensors")
}

/// A pickle of the object in a file from before version 1.6, without storages.
fn legacy(object: &[u8]) -> Vec<u8> {
    let mut file = std::fs::read(fixtures().join("plain.legacy.pt")).expect("a fixture");
    // Magic number and version, and an empty dictionary for the sizes of types.
    file.truncate(15 + 6);
    [&file, &b"\x80\x02}."[..], object, b"\x80\x02]."].concat()
}

#[test]
fn objects_are_named_and_never_made() {
    let text = error(legacy(b"\x80\x02cos\nsystem\nU\x02ls\x85R."));
    assert!(text.contains("an object of Python's class `os.system`") && text.contains("state_dict()"), "{text}");
    let text = error(legacy(b"\x80\x02}(U\x05epochK\x01U\x03accK\x02u."));
    assert!(text.contains("no tensors by name") && text.contains("`epoch`, `acc`"), "{text}");
    assert!(error(legacy(b"\x80\x02K\x01.")).contains("no tensors by name"));
}

/// A reader that goes from value to value would need a frame of the stack for each.
#[test]
fn depth_costs_no_stack() {
    let depth = 130_000;
    for (open, close) in [(&b"]"[..], &b"a"[..]), (b"(", b"t"), (b"(l", b"a"), (b"}K\x01", b"s"), (b")", b"\x85\x85")] {
        let object = [&b"\x80\x02"[..], &open.repeat(depth), b"N", &close.repeat(depth), b"."].concat();
        assert!(error(legacy(&object)).contains("no tensors by name"), "{}", open.escape_ascii());
    }
    let json = [b"{\"a\":".repeat(depth), vec![b'1']].concat();
    let file = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
    assert!(error(file).contains("no safetensors header"));
}

/// Each of thirty values holds the one before twice.
#[test]
fn sharing_costs_no_memory() {
    let mut object = b"\x80\x02]q\x00".to_vec();
    for place in 1..=200u8 {
        object.extend([b'h', place - 1, b'h', place - 1, 0x86, b'q', place]);
    }
    object.push(b'.');
    assert!(error(legacy(&object)).contains("no tensors by name"));
}

#[test]
fn claims_are_held_against_the_file() {
    let claim = |length: u64| error([&length.to_le_bytes()[..], b"{}"].concat());
    assert!(claim(u64::MAX).contains("its header claims 18446744073709551615 bytes"));
    assert!(claim(90_000_000).contains("the whole file has 10"));
    let header = br#"{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    assert!(error(file).contains("describes 4000000000 bytes of elements, 0 are there"));
    assert!(error(legacy(b"\x80\x02X\xff\xff\xff\xff.")).contains("claims a text of 4294967295 bytes"));
}

/// Small storages that stand for much: an expanded tensor, and many tensors of one storage.
#[test]
fn a_small_file_takes_no_large_memory() -> Outcome {
    let whole = std::fs::read(fixtures().join("plain.legacy.pt"))?;
    // The shape (2, 3) and the strides (3, 1) of the weight become (2, 3) and (0, 0).
    let strides = whole.windows(6).position(|bytes| bytes == b"K\x03K\x01\x86q").expect("strides");
    let mut expanded = whole.clone();
    (expanded[strides + 1], expanded[strides + 3]) = (0, 0);
    let file = WeightFile::of_bytes(expanded)?;
    let text = file.tensor("conv.weight").expect_err("an error").to_string();
    assert_eq!(text, "the tensor `conv.weight` has elements that lie over one another");
    let shape = Tensor::zeros((0, 1 << 20), DType::F32, &Device::Cpu)?;
    let empty = safetensors(&HashMap::from([("none".to_string(), shape)]));
    assert_eq!(WeightFile::of_bytes(empty)?.as_stored()?["none"].dims(), [0, 1 << 20]);
    Ok(())
}

#[test]
fn tensors_of_types_that_are_not_read_are_named() -> Outcome {
    let header = br#"{"a":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, b"xy"].concat();
    let text = WeightFile::of_bytes(file)?.as_stored().expect_err("an error").to_string();
    assert_eq!(text, "the tensor `a` has elements of type F8_E5M2, which is not read");
    let header = br#"{"i":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},
        "u":{"dtype":"U16","shape":[1],"data_offsets":[2,4]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0xff, 1, 0xff, 0xff]].concat();
    let read: BTreeMap<_, _> = WeightFile::of_bytes(file)?.as_stored()?;
    assert_eq!((values(&read["i"]), values(&read["u"])), (vec![-1.0, 1.0], vec![65535.0]));
    Ok(())
}
