//! How much memory this process takes.

/// The most physical memory that this process has held at once, in bytes, since it began or since [`reset_peak_memory`]; where the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    of_status("VmHWM:")
}

/// The physical memory that this process holds now, in bytes; where the system tells (Linux).
pub fn memory_now() -> Option<u64> {
    of_status("VmRSS:")
}

/// Lets [`peak_memory`] begin anew, where the system can (Linux); elsewhere nothing happens.
pub fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn of_status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_written_to_counts() {
        let before = peak_memory().expect("Linux tells");
        let block = vec![1_u8; 300 << 20];
        assert!(block.contains(&1));
        let after = peak_memory().expect("Linux tells");
        assert!(after >= (300 << 20), "{before} and then {after}");
    }
}
