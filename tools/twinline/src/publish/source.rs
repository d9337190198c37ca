//! What `twinline publish` can publish: a file, or what the generator makes up.

use crate::exit::Failure;
use crate::summary::{NotPublished, SourceSummary};
use clap::{ArgGroup, Args, ValueEnum};
use std::num::{NonZeroU16, NonZeroU64};
use std::path::{Path, PathBuf};
use twinline_feed::source::generator::{Generator, GeneratorConfig, Profile};
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::lobster::LobsterFile;
use twinline_feed::source::pace::Pace;
use twinline_feed::source::{EventSink, Outcome, Source, SourceError, SourceState, TypeCount};

/// Where the data comes from, and how fast.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source", group(ArgGroup::new("what").required(true).args(["from", "generate"])))]
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
    /// max, recorded (as the times in the file say), or so many times as fast, as in 10x [default: max; of ticks recorded]
    #[arg(long, conflicts_with = "rate")]
    pace: Option<Pace>,
    /// So many messages a second
    #[arg(long, value_name = "MESSAGES")]
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
    #[arg(long, value_name = "MESSAGES", default_value = "20000", requires = "generate")]
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

/// The number of the one source that is published: part of every instrument's number.
const SOURCE: u16 = 1;

/// Any of them.
pub(super) enum AnySource {
    Itch(Box<ItchFile>),
    Lobster(Box<LobsterFile>),
    Generator(Box<Generator>),
}

impl AnySource {
    /// Opens what the arguments name.
    pub(super) fn open(args: &SourceArgs) -> Result<Self, Failure> {
        let as_such = match args.profile {
            ProfileName::Ticks => Pace::Recorded(1.0),
            ProfileName::Orders => Pace::Max,
        };
        let pace = args.rate.map(Pace::PerSecond).or(args.pace).unwrap_or(as_such);
        match (&args.from, args.generate) {
            (Some(path), _) => Self::open_file(path, args, pace),
            (None, Some(messages)) => Ok(Self::Generator(Box::new(Generator::new(GeneratorConfig {
                source: SOURCE,
                seed: args.generator_seed,
                symbols: args.symbols,
                messages: Some(messages),
                profile: match args.profile {
                    ProfileName::Orders => Profile::Orders {
                        mean_rate: args.mean_rate,
                    },
                    ProfileName::Ticks => Profile::Ticks,
                },
                pace,
            })))),
            (None, None) => Err(Failure::usage(
                "name a source: --from FILE or --generate MESSAGES",
            )),
        }
    }

    fn open_file(path: &Path, args: &SourceArgs, pace: Pace) -> Result<Self, Failure> {
        let format = match args.format {
            Some(format) => format,
            // A pipe can be read once only.
            None if !path.is_file() => FileFormat::Itch,
            None if LobsterFile::is_one(path)? => FileFormat::Lobster,
            None => FileFormat::Itch,
        };
        let symbol = args.symbol.as_deref();
        if format == FileFormat::Itch && symbol.is_some() {
            return Err(Failure::usage(format!(
                "--symbol is for LOBSTER files: {} is read as ITCH, which names its instruments itself",
                path.display()
            )));
        }
        Ok(match format {
            FileFormat::Itch => Self::Itch(Box::new(ItchFile::open(path, SOURCE, pace)?)),
            FileFormat::Lobster => Self::Lobster(Box::new(LobsterFile::open(path, SOURCE, symbol, pace)?)),
        })
    }
}

impl Source for AnySource {
    fn id(&self) -> u16 {
        match self {
            Self::Itch(source) => source.id(),
            Self::Lobster(source) => source.id(),
            Self::Generator(source) => source.id(),
        }
    }

    fn position(&self) -> u64 {
        match self {
            Self::Itch(source) => source.position(),
            Self::Lobster(source) => source.position(),
            Self::Generator(source) => source.position(),
        }
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        match self {
            Self::Itch(source) => source.resume(position),
            Self::Lobster(source) => source.resume(position),
            Self::Generator(source) => source.resume(position),
        }
    }

    #[inline]
    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        match self {
            Self::Itch(source) => source.poll(now, sink),
            Self::Lobster(source) => source.poll(now, sink),
            Self::Generator(source) => source.poll(now, sink),
        }
    }

    fn counts(&self) -> Vec<TypeCount> {
        match self {
            Self::Itch(source) => source.counts(),
            Self::Lobster(source) => source.counts(),
            Self::Generator(source) => source.counts(),
        }
    }

    fn progress(&self) -> Option<f64> {
        match self {
            Self::Itch(source) => source.progress(),
            Self::Lobster(source) => source.progress(),
            Self::Generator(source) => source.progress(),
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
