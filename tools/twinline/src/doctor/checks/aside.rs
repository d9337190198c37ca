//! Cores that are set aside for lines' threads: from the scheduler, and from the timer tick.

use super::Wanted;
use super::cpu::CPU;
use crate::doctor::cores::{parse, place, show};
use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::root::Root;

/// With fewer cores than this none can be set aside.
const ENOUGH: usize = 4;

/// Looks at whether any are, or those that were named.
pub(super) fn check(root: &Root, online: &[usize], wanted: &Wanted) -> [Finding; 2] {
    let aside = Aside::look(root, online, wanted);
    [isolated(&aside, wanted), tickless(&aside, wanted)]
}

/// What is set aside, and what is to be.
struct Aside {
    /// Cores that the scheduler leaves alone.
    isolated: Vec<usize>,
    /// Cores that do not tick; none where the kernel cannot stop that.
    tickless: Option<Vec<usize>>,
    /// The command that sets aside what is to be; none if that leaves no core for everything else.
    mend: Option<String>,
}

impl Aside {
    fn look(root: &Root, online: &[usize], wanted: &Wanted) -> Self {
        let listed = |what: &str| root.text(&format!("{CPU}/{what}")).map(|text| parse(&text));
        let (isolated, tickless) = (listed("isolated").unwrap_or_default(), listed("nohz_full"));
        // Whoever set some aside meant it: they stay so.
        let mut before = [&isolated[..], tickless.as_deref().unwrap_or_default()].concat();
        before.sort_unstable();
        before.dedup();
        let mend = to_set_aside(online, wanted, &before).map(|cores| boot_with(&cores, !before.is_empty()));
        Self {
            isolated,
            tickless,
            mend,
        }
    }

    /// How it is with the cores that `are` as they should be: all that were named must be, or any if none was.
    fn judge(
        &self,
        are: &[usize],
        wanted: &Wanted,
        found: impl Fn(String) -> Finding,
        words: Words,
    ) -> Finding {
        let lack = wanted.cores_beside(are);
        let text = match (are.is_empty(), lack.is_empty()) {
            (false, true) => return found(format!("{} {}", place(are), words.are)),
            (false, false) => format!("{} {}, but not {}", place(are), words.are, place(&lack)),
            (true, _) => words.none.into(),
        };
        match &self.mend {
            Some(mend) => found(format!("{text}; what changes that holds from the next start on"))
                .is(Severity::Slow)
                .mend(mend),
            None => found(format!("{text}, and no more can be spared")).is(Severity::Note),
        }
    }
}

/// How it is said.
struct Words {
    /// What cores are that are as they should be.
    are: &'static str,
    /// That none is.
    none: &'static str,
}

/// The cores to set aside: those that are and those that were named, otherwise the last two; none if that leaves none for
/// everything else.
fn to_set_aside(online: &[usize], wanted: &Wanted, before: &[usize]) -> Option<Vec<usize>> {
    if wanted.cores.is_empty() && before.is_empty() {
        return (online.len() >= ENOUGH).then(|| online[online.len() - 2..].to_vec());
    }
    let mut cores = [before, &wanted.cores[..]].concat();
    cores.sort_unstable();
    cores.dedup();
    // Somewhere everything else must run.
    let spares_one = online.iter().any(|core| !cores.contains(core));
    spares_one.then_some(cores)
}

/// As Debian's boot loader takes it; it holds from the next start on. Of an option that is given twice the kernel keeps to the
/// first, so where any are `there` they go.
fn boot_with(cores: &[usize], there: bool) -> String {
    let cores = show(cores);
    let without = match there {
        true => {
            "find /etc/default/grub* -type f -exec sed -i -E \"s/(isolcpus|nohz_full|rcu_nocbs)=[^ '\\\"]*//g\" {} + && "
        }
        false => "",
    };
    format!(
        "mkdir -p /etc/default/grub.d && {without}echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX \
         isolcpus=managed_irq,domain,{cores} nohz_full={cores} rcu_nocbs={cores}\"' > /etc/default/grub.d/twinline.cfg && \
         update-grub"
    )
}

fn isolated(aside: &Aside, wanted: &Wanted) -> Finding {
    const WHY: &str = "on a core that is not set aside the scheduler puts other programs beside a line's thread, for milliseconds";
    let words = Words {
        are: "set aside",
        none: "no core is set aside (isolcpus)",
    };
    let found = |text| Finding::ok("cpu.isolated", HOST, text, WHY);
    aside.judge(&aside.isolated, wanted, found, words)
}

fn tickless(aside: &Aside, wanted: &Wanted) -> Finding {
    const WHY: &str =
        "the timer tick interrupts a thread 100 to 1,000 times a second, each time for some microseconds";
    let found = |text| Finding::ok("cpu.tick", HOST, text, WHY);
    let Some(tickless) = &aside.tickless else {
        return found("this kernel cannot stop the tick on a busy core (CONFIG_NO_HZ_FULL)".into())
            .is(Severity::Note);
    };
    let words = Words {
        are: "without a tick while one thread runs there",
        none: "every core ticks (nohz_full)",
    };
    aside.judge(tickless, wanted, found, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{verdict, wanted};
    use crate::doctor::cores;
    use crate::doctor::root::machine;

    /// So many cores, of which some are set aside.
    fn server(online: &str, isolated: &str, tickless: &str) -> (tempfile::TempDir, Root) {
        machine(&[
            (&format!("{CPU}/online"), online),
            (&format!("{CPU}/isolated"), isolated),
            (&format!("{CPU}/nohz_full"), tickless),
        ])
    }

    /// What is found where these cores are to be used.
    fn with_cores(root: &Root, cores: &[usize]) -> [Finding; 2] {
        let wanted = Wanted {
            cores: cores.to_vec(),
            ..wanted()
        };
        check(root, &cores::online(root), &wanted)
    }

    /// Runs a command that sets cores aside where the boot loader's files are in another directory, and returns what the
    /// kernel would then be started with.
    fn started_with(command: &str, grub: &str) -> String {
        let etc = tempfile::tempdir().unwrap();
        let place = etc.path().join("default");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("grub"), grub).unwrap();
        let place = place.display();
        let here = command
            .replace("/etc/default", &place.to_string())
            .replace("update-grub", "true");
        let script = format!(
            "{here} && . {place}/grub && . {place}/grub.d/twinline.cfg && echo \"$GRUB_CMDLINE_LINUX_DEFAULT $GRUB_CMDLINE_LINUX\""
        );
        let ran = std::process::Command::new("sh").args(["-ec", &script]).output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{script}: {ran:?}");
        let words = String::from_utf8(ran.stdout).unwrap();
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn cores_that_are_set_aside_stay_so_and_their_options_are_replaced() {
        let (_dir, root) = server("0-7", "3", "2-3");
        let findings = with_cores(&root, &[5]);
        let (severity, command) = verdict(&findings, "cpu.isolated");
        assert_eq!(verdict(&findings, "cpu.tick"), (severity, command));
        assert_eq!(severity, Severity::Slow);
        let grub = "GRUB_CMDLINE_LINUX_DEFAULT='quiet isolcpus=3'\nGRUB_CMDLINE_LINUX=\"nohz_full=2-3 console=ttyS0\"\n";
        assert_eq!(
            started_with(command.unwrap(), grub),
            "quiet console=ttyS0 isolcpus=managed_irq,domain,2-3,5 nohz_full=2-3,5 rcu_nocbs=2-3,5"
        );
        let (_dir, root) = server("0-7", "", "(null)");
        let findings = with_cores(&root, &[5]);
        let (_, command) = verdict(&findings, "cpu.isolated");
        assert_eq!(
            started_with(command.unwrap(), "GRUB_CMDLINE_LINUX=quiet\n"),
            "quiet isolcpus=managed_irq,domain,5 nohz_full=5 rcu_nocbs=5"
        );
    }

    #[test]
    fn not_all_cores_are_set_aside_even_where_some_are_already() {
        let (_dir, root) = server("0-3", "3", "3");
        let findings = with_cores(&root, &[0, 1, 2, 3]);
        for name in ["cpu.isolated", "cpu.tick"] {
            assert_eq!(verdict(&findings, name), (Severity::Note, None), "{name}");
        }
        let findings = with_cores(&root, &[2]);
        assert_eq!(verdict(&findings, "cpu.tick").0, Severity::Slow);
    }
}
