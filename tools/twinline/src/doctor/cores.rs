//! Lists of cores as the kernel writes them: `0-3,8`.

use super::root::Root;

/// The cores of a list; none of what cannot be read.
pub(super) fn parse(text: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse(), last.parse::<usize>()) {
            cores.extend(first..=last);
        }
    }
    cores
}

/// The same the other way.
pub(super) fn show(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let shown = parts.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Cores as the place of a finding.
pub(super) fn place(cores: &[usize]) -> String {
    match cores {
        [core] => format!("core {core}"),
        _ => format!("cores {}", show(cores)),
    }
}

/// The cores that are on.
pub(super) fn online(root: &Root) -> Vec<usize> {
    root.text("sys/devices/system/cpu/online")
        .map(|text| parse(&text))
        .unwrap_or_default()
}

/// Cores by what `of` says of each, in the order in which that is said first; cores of which it says nothing are left out.
pub(super) fn grouped<T: PartialEq>(
    cores: &[usize],
    of: impl Fn(usize) -> Option<T>,
) -> Vec<(T, Vec<usize>)> {
    let mut groups: Vec<(T, Vec<usize>)> = Vec::new();
    for &core in cores {
        let Some(said) = of(core) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == said) {
            Some((_, cores)) => cores.push(core),
            None => groups.push((said, vec![core])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_written_as_the_kernel_does() {
        assert_eq!(parse("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(show(&[0, 1, 2, 3, 8]), "0-3,8");
        assert!(parse("").is_empty() && parse("(null)").is_empty());
        assert_eq!(place(&[2]), "core 2");
        assert_eq!(place(&[2, 4, 5]), "cores 2,4-5");
    }

    #[test]
    fn cores_of_which_the_same_is_said_stand_together() {
        let groups = grouped(&[0, 1, 2, 3], |core| (core != 1).then_some(core > 2));
        assert_eq!(groups, [(false, vec![0, 2]), (true, vec![3])]);
    }
}
