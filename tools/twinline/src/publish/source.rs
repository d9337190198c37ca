//! What `twinline publish` can publish: a file, or what the generator makes up.

use crate::exit::Failure;
use crate::summary::{NotPublished, SourceSummary};
use crate::units;
use clap::{ArgGroup, Args, ValueEnum};
use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU64};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use twinline_feed::engine::{EngineAddress, EngineSource};
use twinline_feed::source::generator::{Generator, GeneratorConfig, Profile};
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::lobster::LobsterFile;
use twinline_feed::source::pace::Pace;
use twinline_feed::source::retry::Retrying;
use twinline_feed::source::{EventSink, Outcome, Source, SourceError, SourceState, TypeCount};

/// Where the data comes from, and how fast.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source", group(ArgGroup::new("what").required(true).args(["from", "generate", "source"])))]
#[group(skip)]
pub(crate) struct SourceArgs {
    /// A file of NASDAQ ITCH 5.0 messages or of LOBSTER's message rows (CSV), plain or gzip
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// What the file is [default: found out from its content]
    #[arg(long, value_enum, requires = "from")]
    format: Option<FileFormat>,
    /// The instrument of a LOBSTER file, which does not name it [default: what the file's name begins with]
    #[arg(long, value_name = "SYMBOL", requires = "from")]
    symbol: Option<String>,
    /// So many messages of a made-up market
    #[arg(long, value_name = "MESSAGES")]
    generate: Option<u64>,
    /// A source with all that concerns it in one: itch=FILE, lobster=FILE, orders=MESSAGES or ticks=MESSAGES (0: without
    /// end), tcp=ADDRESS:PORT or shm=SOCKET (where a matching engine in another process connects), and where they are
    /// wanted id=NUMBER, pace=, rate=, retry=, seed=, symbols=, mean-rate=, symbol=; as in
    /// itch=day.gz,pace=recorded,retry=forever; may be given several times, with numbers of their own (by default the
    /// first is 1, the next 2 and so on)
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["pace", "rate", "retry"])]
    source: Vec<SourceSpec>,
    /// When the source breaks, open it again at its position, so many times in a row without getting further, or forever;
    /// after 100 ms, then twice as long each time, up to 10 s
    #[arg(long, value_name = "COUNT|forever", default_value = "0", value_parser = retries)]
    retry: u32,
    /// max, recorded (as the times in the file say), or so many times as fast, as in 10x [default: max; of ticks recorded]
    #[arg(long, conflicts_with = "rate")]
    pace: Option<Pace>,
    /// So many messages a second
    #[arg(long, value_name = "MESSAGES", value_parser = units::rate)]
    rate: Option<NonZeroU64>,
    /// Decides what the generator makes up
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "generate")]
    generator_seed: u64,
    /// Instruments that the generator makes up
    #[arg(long, value_name = "COUNT", default_value = "100", requires = "generate")]
    symbols: NonZeroU16,
    /// What the generator makes up: orders, or a price tick a second of each instrument
    #[arg(long, value_enum, default_value_t = ProfileName::Orders, requires = "generate")]
    profile: ProfileName,
    /// Messages a second that made-up order flow has on average by its own times; with --pace recorded they come so, in
    /// the bursts of a real hour
    #[arg(long, value_name = "MESSAGES", default_value = "20000", requires = "generate", value_parser = units::rate)]
    mean_rate: NonZeroU64,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// NASDAQ TotalView-ITCH 5.0, each message behind its length
    Itch,
    /// LOBSTER's message file: time,type,order,size,price,direction
    Lobster,
}

/// What the generator makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// Order flow in the bursts of a real hour
    Orders,
    /// A price tick a second of each instrument, evenly spread
    Ticks,
}

/// A source, as `--source` names it or the single flags do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SourceSpec {
    /// Its number, part of every instrument's number; 0: its place, from 1.
    id: u16,
    what: What,
    pace: Pace,
    retry: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Itch(PathBuf),
    Lobster(PathBuf, Option<String>),
    Engine(EngineAddress),
    Made {
        messages: Option<u64>,
        seed: u64,
        symbols: NonZeroU16,
        profile: Profile,
    },
}

/// The number of the source that single flags name.
const SOURCE: u16 = 1;

fn retries(text: &str) -> Result<u32, String> {
    match text {
        "forever" => Ok(u32::MAX),
        _ => text
            .parse()
            .map_err(|_| format!("{text:?} is no number of attempts: write 5 or forever")),
    }
}

impl SourceArgs {
    /// What the flags name.
    ///
    /// # Errors
    /// If they make no source, or two sources have the same number.
    pub(super) fn specs(&self) -> Result<Vec<SourceSpec>, Failure> {
        if self.source.is_empty() {
            return Ok(vec![self.single()?]);
        }
        let mut specs = self.source.clone();
        for (at, spec) in specs.iter_mut().enumerate() {
            if spec.id == 0 {
                spec.id = u16::try_from(at + 1).map_err(Failure::usage)?;
            }
        }
        for (at, spec) in specs.iter().enumerate() {
            if specs[..at].iter().any(|other| other.id == spec.id) {
                return Err(Failure::usage(format!(
                    "two sources have the number {}: give each its own with id=NUMBER",
                    spec.id
                )));
            }
        }
        Ok(specs)
    }

    /// The source that single flags name.
    fn single(&self) -> Result<SourceSpec, Failure> {
        let what = match (&self.from, self.generate) {
            (Some(path), _) => self.file(path)?,
            (None, Some(messages)) => What::Made {
                messages: Some(messages),
                seed: self.generator_seed,
                symbols: self.symbols,
                profile: match self.profile {
                    ProfileName::Orders => Profile::Orders {
                        mean_rate: self.mean_rate,
                    },
                    ProfileName::Ticks => Profile::Ticks,
                },
            },
            (None, None) => {
                return Err(Failure::usage(
                    "name a source: --from FILE, --generate MESSAGES or --source SPEC",
                ));
            }
        };
        Ok(SourceSpec {
            id: SOURCE,
            pace: what.pace(self.pace, self.rate),
            what,
            retry: self.retry,
        })
    }

    fn file(&self, path: &Path) -> Result<What, Failure> {
        let format = match self.format {
            Some(format) => format,
            // A pipe can be read once only.
            None if !path.is_file() => FileFormat::Itch,
            None if LobsterFile::is_one(path)? => FileFormat::Lobster,
            None => FileFormat::Itch,
        };
        match format {
            FileFormat::Itch if self.symbol.is_some() => Err(Failure::usage(format!(
                "--symbol is for LOBSTER files: {} is read as ITCH, which names its instruments itself",
                path.display()
            ))),
            FileFormat::Itch => Ok(What::Itch(path.to_owned())),
            FileFormat::Lobster => Ok(What::Lobster(path.to_owned(), self.symbol.clone())),
        }
    }
}

impl What {
    /// Ticks come at their own times unless told otherwise, all else as fast as it goes.
    fn pace(&self, pace: Option<Pace>, rate: Option<NonZeroU64>) -> Pace {
        let is_ticks = matches!(
            self,
            Self::Made {
                profile: Profile::Ticks,
                ..
            }
        );
        let own = if is_ticks { Pace::Recorded(1.0) } else { Pace::Max };
        rate.map(Pace::PerSecond).or(pace).unwrap_or(own)
    }
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = HashMap::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is no key=value: write itch=FILE,pace=recorded"))?;
            if keys.insert(key, value).is_some() {
                return Err(format!("{key} is there twice"));
            }
        }
        let (symbol, seed) = (keys.remove("symbol"), keys.remove("seed"));
        let (symbols, mean_rate) = (keys.remove("symbols"), keys.remove("mean-rate"));
        let made = seed.or(symbols).or(mean_rate).is_some();
        let kinds: Vec<_> = ["itch", "lobster", "orders", "ticks", "tcp", "shm"]
            .into_iter()
            .filter_map(|kind| Some((kind, keys.remove(kind)?)))
            .collect();
        let [(kind, value)] = kinds[..] else {
            return Err(format!(
                "{text:?} must name one of itch, lobster, orders, ticks, tcp and shm"
            ));
        };
        let engine = matches!(kind, "tcp" | "shm");
        if symbol.is_some() && kind != "lobster" || made && (engine || matches!(kind, "itch" | "lobster")) {
            return Err("symbol is for lobster; seed, symbols and mean-rate are for orders and ticks".into());
        }
        let what = match kind {
            "itch" => What::Itch(value.into()),
            "lobster" => What::Lobster(value.into(), symbol.map(Into::into)),
            "tcp" => What::Engine(EngineAddress::Tcp(read("tcp", value)?)),
            "shm" => What::Engine(EngineAddress::Shared(value.into())),
            _ => {
                let messages: u64 = read(kind, value)?;
                let mean_rate = mean_rate.map_or(Ok(NonZeroU64::MIN.saturating_add(19_999)), |rate| {
                    units::rate(rate)
                })?;
                What::Made {
                    messages: (messages > 0).then_some(messages),
                    seed: seed.map_or(Ok(1), |seed| read("seed", seed))?,
                    symbols: symbols.map_or(Ok(NonZeroU16::MIN.saturating_add(99)), |count| {
                        read("symbols", count)
                    })?,
                    profile: if kind == "ticks" {
                        Profile::Ticks
                    } else {
                        Profile::Orders { mean_rate }
                    },
                }
            }
        };
        let pace = keys.remove("pace").map(|pace| read("pace", pace)).transpose()?;
        let rate = keys.remove("rate").map(units::rate).transpose()?;
        if engine && (pace.is_some() || rate.is_some()) {
            return Err("an engine says itself when: leave pace and rate out".into());
        }
        if pace.is_some() && rate.is_some() {
            return Err("give pace or rate, not both".into());
        }
        let spec = Self {
            id: match keys.remove("id").map(|id| read("id", id)).transpose()? {
                Some(0) => return Err("a source's number is 1 or more".into()),
                named => named.unwrap_or(0),
            },
            pace: what.pace(pace, rate),
            what,
            // Whatever an engine sends, the next one is listened to.
            retry: keys
                .remove("retry")
                .map_or(Ok(if engine { u32::MAX } else { 0 }), retries)?,
        };
        match keys.keys().next() {
            Some(key) => Err(format!(
                "there is no key {key:?}: take id, pace, rate, retry, seed, symbols, mean-rate or symbol"
            )),
            None => Ok(spec),
        }
    }
}

fn read<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key} cannot be {value:?}"))
}

/// Opens a source, again and again.
type Opener = Box<dyn FnMut() -> Result<AnySource, SourceError> + Send>;
/// A source that is opened again when it breaks.
pub(super) type OpenSource = Retrying<AnySource, Opener>;

impl SourceSpec {
    /// Opens it, for packets of at most `packet_limit` bytes.
    pub(super) fn open(&self, packet_limit: usize) -> Result<OpenSource, SourceError> {
        let spec = self.clone();
        Retrying::open(Box::new(move || AnySource::open(&spec, packet_limit)), self.retry)
    }
}

/// Any of them.
pub(super) enum AnySource {
    Itch(Box<ItchFile>),
    Lobster(Box<LobsterFile>),
    Generator(Box<Generator>),
    Engine(Box<EngineSource>),
}

impl AnySource {
    fn open(spec: &SourceSpec, packet_limit: usize) -> Result<Self, SourceError> {
        let (id, pace) = (spec.id, spec.pace);
        Ok(match &spec.what {
            What::Itch(path) => Self::Itch(Box::new(ItchFile::open(path, id, pace)?)),
            What::Lobster(path, symbol) => {
                Self::Lobster(Box::new(LobsterFile::open(path, id, symbol.as_deref(), pace)?))
            }
            What::Engine(address) => Self::Engine(Box::new(EngineSource::listen(address, id, packet_limit)?)),
            What::Made {
                messages,
                seed,
                symbols,
                profile,
            } => Self::Generator(Box::new(Generator::new(GeneratorConfig {
                source: id,
                seed: *seed,
                symbols: *symbols,
                messages: *messages,
                profile: *profile,
                pace,
            }))),
        })
    }
}

impl Source for AnySource {
    fn id(&self) -> u16 {
        match self {
            Self::Itch(source) => source.id(),
            Self::Lobster(source) => source.id(),
            Self::Generator(source) => source.id(),
            Self::Engine(source) => source.id(),
        }
    }

    fn position(&self) -> u64 {
        match self {
            Self::Itch(source) => source.position(),
            Self::Lobster(source) => source.position(),
            Self::Generator(source) => source.position(),
            Self::Engine(source) => source.position(),
        }
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        match self {
            Self::Itch(source) => source.resume(position),
            Self::Lobster(source) => source.resume(position),
            Self::Generator(source) => source.resume(position),
            Self::Engine(source) => source.resume(position),
        }
    }

    #[inline]
    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        match self {
            Self::Itch(source) => source.poll(now, sink),
            Self::Lobster(source) => source.poll(now, sink),
            Self::Generator(source) => source.poll(now, sink),
            Self::Engine(source) => source.poll(now, sink),
        }
    }

    fn counts(&self) -> Vec<TypeCount> {
        match self {
            Self::Itch(source) => source.counts(),
            Self::Lobster(source) => source.counts(),
            Self::Generator(source) => source.counts(),
            Self::Engine(source) => source.counts(),
        }
    }

    #[inline]
    fn acknowledge(&mut self, position: u64) {
        if let Self::Engine(source) = self {
            source.acknowledge(position);
        }
    }

    fn progress(&self) -> Option<f64> {
        match self {
            Self::Itch(source) => source.progress(),
            Self::Lobster(source) => source.progress(),
            Self::Generator(source) => source.progress(),
            Self::Engine(source) => source.progress(),
        }
    }
}

/// What `source`, taken up at `resumed_at`, said.
pub(super) fn summary(source: &impl Source, resumed_at: u64, published_in_session: u64) -> SourceSummary {
    let mut summary = SourceSummary {
        resumed_at,
        published_in_session,
        ..SourceSummary::default()
    };
    for count in source.counts() {
        summary.messages += count.messages;
        *summary.by_type.entry(count.kind.clone()).or_default() += count.messages;
        let why = match count.outcome {
            Outcome::Published => {
                summary.published += count.messages;
                continue;
            }
            Outcome::NoTemplate => "no template of ours stands for it",
            Outcome::UnknownType => "the source's specification does not have it",
            Outcome::WrongLength => "it is not as long as the specification says",
        };
        summary.counted += count.messages;
        let not = NotPublished {
            messages: count.messages,
            why: why.into(),
            first: count.first,
        };
        summary.not_published.insert(count.kind, not);
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_names_a_source_with_all_that_concerns_it() {
        let spec: SourceSpec = "lobster=a.csv,id=3,symbol=AAPL,rate=500,retry=forever"
            .parse()
            .unwrap();
        assert_eq!(
            (spec.id, spec.pace.to_string(), spec.retry),
            (3, "500/s".to_string(), u32::MAX)
        );
        assert_eq!(spec.what, What::Lobster("a.csv".into(), Some("AAPL".into())));
        let ticks: SourceSpec = "ticks=0,symbols=7".parse().unwrap();
        assert_eq!((ticks.id, ticks.pace), (0, Pace::Recorded(1.0)));
        assert!(matches!(
            ticks.what,
            What::Made {
                messages: None,
                profile: Profile::Ticks,
                ..
            }
        ));
        for (wrong, named) in [
            ("itch", "no key=value"),
            ("id=3", "must name one of"),
            ("itch=a,lobster=b", "must name one of"),
            ("itch=a,itch=b", "twice"),
            ("itch=a,symbol=X", "symbol is for lobster"),
            ("itch=a,seed=1", "for orders and ticks"),
            ("orders=many", "orders cannot be"),
            ("orders=1,pace=max,rate=5", "not both"),
            ("orders=1,rate=0", "is not a rate"),
            ("orders=1,id=0", "1 or more"),
            ("orders=1,speed=5", "no key \"speed\""),
            ("orders=1,retry=often", "attempts"),
            ("tcp=nowhere", "tcp cannot be"),
            ("tcp=127.0.0.1:1,rate=5", "says itself"),
        ] {
            let error = wrong.parse::<SourceSpec>().unwrap_err();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }
}
