//! Figures of this process from `/proc`, under the names that every Prometheus client uses.
//! Parsing is apart from reading, and what cannot be read is left out rather than shown as zero.

use std::fs;

use super::metrics::{Family, Samples, counter, gauge};

/// Ticks per second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux that Rust's std supports.
const TICKS: f64 = 100.0;
/// Bytes per page of `statm`.
const PAGE: f64 = 4096.0;

/// What the kernel says about this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) start_time_seconds: Option<f64>,
    pub(super) threads: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) open_fds: Option<f64>,
    pub(super) max_fds: Option<f64>,
}

/// Reads the figures of this moment.
pub(super) fn read() -> Process {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut process = parse(&text("/proc/self/stat"), &text("/proc/stat"), &text("/proc/self/status"));
    process.max_fds = max_fds(&text("/proc/self/limits"));
    process.open_fds =
        fs::read_dir("/proc/self/fd").ok().and_then(|fds| u32::try_from(fds.count()).ok()).map(f64::from);
    process
}

fn parse(stat: &str, system: &str, status: &str) -> Process {
    // The command name stands in brackets and may hold anything; the third field follows the last of them.
    let fields: Vec<&str> =
        stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let boot = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
    };
    Process {
        cpu_seconds: field(14).zip(field(15)).map(|(user, kernel)| (user + kernel) / TICKS),
        start_time_seconds: boot.zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS),
        threads: field(20),
        virtual_bytes: field(23),
        // `status` gives KiB whatever the page size is; `stat` field 24 counts pages and is the second choice.
        resident_bytes: kib("VmRSS:").or_else(|| field(24).map(|pages| pages * PAGE)),
        open_fds: None,
        max_fds: None,
    }
}

fn max_fds(limits: &str) -> Option<f64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

/// The families that every exporter has.
pub(super) static FAMILIES: [Family; 7] = [
    counter("process_cpu_seconds_total", "", "CPU time of user and kernel.", |s| {
        Samples::One(s.process.cpu_seconds)
    }),
    gauge("process_start_time_seconds", "", "Start of the process, as Unix time.", |s| {
        Samples::One(s.process.start_time_seconds)
    }),
    gauge("process_threads", "", "Threads of the operating system.", |s| Samples::One(s.process.threads)),
    gauge("process_virtual_memory_bytes", "", "Virtual memory.", |s| Samples::One(s.process.virtual_bytes)),
    gauge("process_resident_memory_bytes", "", "Resident memory.", |s| {
        Samples::One(s.process.resident_bytes)
    }),
    gauge("process_open_fds", "", "Open file descriptors.", |s| Samples::One(s.process.open_fds)),
    gauge("process_max_fds", "", "Limit of open file descriptors.", |s| Samples::One(s.process.max_fds)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_command_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 7 0 1200 4096000 25 rest";
        let process = parse(stat, "cpu 1 2\nbtime 1000\n", "Name:\tx\nVmRSS:\t   100 kB\n");
        assert_eq!(process.cpu_seconds, Some(2.0));
        assert_eq!(process.threads, Some(7.0));
        assert_eq!(process.start_time_seconds, Some(1012.0));
        assert_eq!(process.virtual_bytes, Some(4_096_000.0));
        assert_eq!(process.resident_bytes, Some(102_400.0));
        assert_eq!(
            max_fds("Limit  Soft Hard\nMax open files            1024   4096   files\n"),
            Some(1024.0)
        );
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!(parse("", "", ""), Process::default());
        assert_eq!(max_fds("Max open files unlimited"), None);
    }
}
