//! What is delivered of what comes.

use crate::symbols::Chosen;
use twinline_wire::session::SourcePosition;
use twinline_wire::{Frame, Message};

/// What is to be delivered.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) instruments: Chosen,
    /// A bit for each template below 128.
    templates: Option<u128>,
}

impl Filter {
    pub(crate) fn new(instruments: Chosen, templates: Option<&[u16]>) -> Self {
        let bit = |all: u128, &template: &u16| all | 1_u128.checked_shl(template.into()).unwrap_or(0);
        Self {
            instruments,
            templates: templates.map(|templates| templates.iter().fold(0, bit)),
        }
    }

    /// True if a message is to be delivered. One that cannot be known to be unwanted is.
    #[inline]
    pub(crate) fn wants(&self, frame: &Frame<'_>) -> bool {
        if let Some(templates) = self.templates
            && templates.checked_shr(frame.template().into()).unwrap_or(0) & 1 == 0
        {
            return false;
        }
        match (&self.instruments, frame.instrument()) {
            (Chosen::All, _) => true,
            (chosen, Some(number)) => number & 0xffff == 0 || chosen.contains(number),
            (_, None) => self.templates.is_some() || frame.template() != SourcePosition::TEMPLATE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instruments;
    use twinline_wire::OpenPacket;
    use twinline_wire::field::Text;
    use twinline_wire::market::{InstrumentDefinition, PriceTick, Trade, TradingStatus};
    use twinline_wire::session::SessionStart;

    fn wants<M: Message>(filter: &Filter, message: &M) -> bool {
        let mut bytes = [0; 256];
        OpenPacket::new().push(&mut bytes, message);
        let (frame, _) = Frame::split(&bytes[twinline_wire::header::HEADER_LEN..]).unwrap();
        filter.wants(&frame)
    }

    fn tick(instrument: u32) -> PriceTick {
        PriceTick {
            instrument: instrument.into(),
            ..PriceTick::NULL
        }
    }

    #[test]
    fn an_instrument_filter_lets_through_its_instruments_whole_markets_and_the_stream_itself() {
        let chosen = Chosen::new(&Instruments::these([0x1_0005_u32])).unwrap();
        let filter = Filter::new(chosen, None);
        assert!(wants(&filter, &tick(0x1_0005)));
        assert!(!wants(&filter, &tick(0x1_0006)));
        let market = TradingStatus {
            instrument: 0x2_0000.into(),
            ..TradingStatus::NULL
        };
        assert!(wants(&filter, &market));
        assert!(wants(&filter, &SessionStart::NULL));
        assert!(!wants(&filter, &SourcePosition::NULL));
    }

    #[test]
    fn a_template_filter_lets_through_its_templates_only() {
        let chosen = Chosen::new(&Instruments::All).unwrap();
        let filter = Filter::new(
            chosen,
            Some(&[PriceTick::TEMPLATE, SourcePosition::TEMPLATE, 60_000]),
        );
        assert!(wants(&filter, &tick(1)));
        assert!(wants(&filter, &SourcePosition::NULL));
        assert!(!wants(&filter, &Trade::NULL));
    }

    #[test]
    fn a_symbol_counts_from_its_definition_to_the_end_of_the_session() {
        let mut filter = Filter::new(Chosen::new(&Instruments::these(["ABC"])).unwrap(), None);
        let define = |symbol: &str, number: u32| InstrumentDefinition {
            instrument: number.into(),
            symbol: Text::new(symbol.as_bytes()),
            ..InstrumentDefinition::NULL
        };
        assert!(!wants(&filter, &tick(0x1_0001)));
        filter.instruments.learn(&define("ABC", 0x1_0001));
        filter.instruments.learn(&define("ABCD", 0x1_0002));
        assert!(wants(&filter, &tick(0x1_0001)));
        assert!(!wants(&filter, &tick(0x1_0002)));
        filter.instruments.learn(&define("ABC", 0x2_0009));
        assert!(wants(&filter, &tick(0x2_0009)), "of another source, too");
        filter.instruments.learn(&define("XYZ", 0x1_0001));
        assert!(!wants(&filter, &tick(0x1_0001)), "it has another symbol now");
        filter.instruments.clear();
        assert!(!wants(&filter, &tick(0x2_0009)));
    }
}
