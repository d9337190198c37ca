//! `twinline simulate`
