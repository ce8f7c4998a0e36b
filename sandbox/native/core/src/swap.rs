//! Whether memory of this process may be written to a disk: where the computer has swap, and no control group of ours forbids it.
use std::fs::read_to_string;

const GROUPS: &str = "/sys/fs/cgroup";

/// As it is now. What cannot be read may be so.
pub fn is_possible() -> bool {
    let group = read_to_string("/proc/self/cgroup").ok().and_then(|groups| group_of(&groups).map(str::to_string));
    let is_forbidden = group.and_then(|group| read_to_string(format!("{GROUPS}{group}/memory.swap.max")).ok()).is_some_and(|max| max.trim() == "0");
    !is_forbidden && read_to_string("/proc/swaps").map_or(true, |swaps| is_any(&swaps))
}

/// Of version 2, which alone has a limit for swap.
fn group_of(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// In /proc/swaps, under its heading.
fn is_any(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_stands_under_the_heading_and_a_group_is_that_of_version_2() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!is_any(heading) && !is_any(""));
        assert!(is_any(&format!("{heading}/dev/zram0 partition\t8388604\t\t0\t\t100\n")));
        assert_eq!(group_of("4:memory:/a\n0::/godwit.slice/b\n"), Some("/godwit.slice/b"));
        assert_eq!(group_of("4:memory:/a\n"), None);
    }
}
