//! The terminal: draws, takes keys, and leaves it as it was, whatever ends the command.

use super::board::Board;
use super::draw::draw;
use super::keys::Ui;
use super::scrape::{self, Scrape};
use super::wall_ns;
use crate::exit::Failure;
use crate::signals;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// A key, a signal or an answer is seen at most so much later.
const WAIT: Duration = Duration::from_millis(50);
/// What does not answer gets older on the screen this often.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows the daemons until the user quits, or a signal asks for it.
pub(super) fn run(targets: &[String], every: Duration) -> Result<(), Failure> {
    let stop = signals::stop_flag()?;
    let scrapes = scrape::start(targets, every, None)?;
    let board = Board::new(targets, every, Instant::now());
    // A panic restores the terminal too: a hook sees to it.
    let mut terminal = ratatui::try_init().map_err(|cause| {
        // It may have got half-way.
        let _ = ratatui::try_restore();
        broken(cause)
    })?;
    let shown = show(&mut terminal, board, &scrapes, every, &stop);
    ratatui::try_restore().map_err(broken)?;
    shown.map_err(broken)
}

fn broken(cause: std::io::Error) -> Failure {
    Failure::error(format!(
        "the terminal cannot be used: {cause}; give --once to print what is seen and end"
    ))
}

fn show(
    terminal: &mut DefaultTerminal,
    mut board: Board,
    scrapes: &Receiver<Scrape>,
    every: Duration,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut ui = Ui::default();
    let mut view = board.view(Instant::now(), wall_ns());
    let mut drawn: Option<Instant> = None;
    while !ui.quit && !stop.load(Ordering::Relaxed) {
        let mut changed = drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        for Scrape { daemon, at, result } in scrapes.try_iter() {
            board.take(daemon, at, result);
            changed = true;
        }
        if event::poll(WAIT)? {
            // A new size is all that the others say, and drawing finds that out.
            if let Event::Key(key) = event::read()? {
                ui.press(key, &view);
            }
            changed = true;
        }
        if changed {
            if !ui.paused {
                view = board.view(Instant::now(), wall_ns());
            }
            terminal.draw(|frame| draw(frame, &view, &ui, every))?;
            drawn = Some(Instant::now());
        }
    }
    Ok(())
}
