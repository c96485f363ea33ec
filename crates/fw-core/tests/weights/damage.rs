//! Files that are cut, damaged or large.

use std::fs::File;
use std::io::Write;

use fw_core::weights::{Convention, Portable, Weights, WeightsError};

use super::{assert_computes, file, lstm, open};

/// A file that is cut in many places is refused; one in which some byte is another is refused or read, and never leaves a layer half new. What is wrong within numbers
/// no format of these tells: `fw-train export` adds a digest.
#[test]
fn a_cut_or_damaged_file_changes_nothing() {
    for name in ["lstm.pt", "lstm_legacy.pt", "lstm.safetensors"] {
        let whole = std::fs::read(file(name)).expect(name);
        let before = lstm();
        let kept = |layer: &fw_core::Lstm| {
            let weights = layer.to_weights(Convention::Own).expect("its own names");
            weights.to_bytes().expect("they can be written")
        };
        let expected = kept(&before);
        let try_it = |bytes: Vec<u8>, what: String| {
            let mut layer = before.clone();
            let loaded = Weights::from_bytes(bytes)
                .and_then(|weights| layer.load(&weights, Convention::PyTorch));
            if loaded.is_err() {
                assert!(kept(&layer) == expected, "{what}: the layer has changed");
            }
            loaded
        };
        for length in (0..whole.len()).step_by(53) {
            let what = format!("{name} of {length} bytes");
            let cut = whole[..length].to_vec();
            assert!(try_it(cut, what.clone()).is_err(), "{what} was loaded");
        }
        for position in (0..whole.len()).step_by(37) {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x55;
            let _ = try_it(damaged, format!("{name}, byte {position}"));
        }
    }
}

/// The error says which file, and what it was taken for.
#[test]
fn what_is_no_file_of_weights_is_told() {
    let error = Weights::open(file("make.py")).expect_err("a script");
    assert!(
        matches!(
            error,
            WeightsError::Format {
                format: "PyTorch",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with(&file("make.py").display().to_string()),
        "{error}"
    );
    let error = Weights::from_bytes(Vec::new()).expect_err("nothing");
    assert!(
        error
            .to_string()
            .starts_with("what is in memory cannot be read as weights"),
        "{error}"
    );
}

/// What a file is is seen by what is in it, not by what it is called.
#[test]
fn a_renamed_file_is_what_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, renamed) in [
        ("lstm.pt", "lstm.safetensors"),
        ("lstm_legacy.pt", "lstm.bin"),
        ("lstm.safetensors", "lstm.pt"),
    ] {
        let path = folder.path().join(renamed);
        std::fs::copy(file(name), &path).expect("it can be copied");
        let mut layer = lstm();
        let weights = Weights::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        layer.load(&weights, Convention::PyTorch).expect(name);
        assert_computes(&layer, "lstm");
    }
}

/// The memory of this process, in bytes, at its most.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    1024 * kilobytes.expect("a number of kilobytes")
}

/// Two gigabytes of something else lie beside a layer of a kilobyte; the file has holes, so that it takes no room on the disk.
#[test]
#[cfg(target_os = "linux")]
fn what_is_not_used_is_not_read() {
    const OTHER: u64 = 2 << 30;
    let small = open("lstm.safetensors");
    let mut header = String::from("{");
    let mut numbers = Vec::new();
    for name in small.names().map(str::to_owned).collect::<Vec<_>>() {
        let data = small
            .numbers(&name)
            .expect("it is whole")
            .expect("it is there");
        let (first, shape) = (numbers.len(), small.shape(&name).expect("it is there"));
        numbers.extend_from_slice(data.as_bytes());
        header += &format!(
            "\"rnn.{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{first},{}]}},",
            numbers.len()
        );
    }
    let end = numbers.len() as u64 + OTHER;
    header += &format!(
        "\"other\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{},{end}]}}}}",
        OTHER / 4,
        numbers.len()
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.safetensors");
    let mut file = File::create(&path).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes())
        .expect("its length");
    file.write_all(header.as_bytes()).expect("its header");
    file.write_all(&numbers).expect("its numbers");
    file.set_len(8 + header.len() as u64 + end)
        .expect("its hole");

    let before = peak_memory();
    let weights = Weights::open(&path).and_then(|weights| weights.within("rnn"));
    let mut layer = lstm();
    layer
        .load(&weights.expect("it is whole"), Convention::PyTorch)
        .expect("it fits");
    assert_computes(&layer, "lstm");
    let grown = peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
}
