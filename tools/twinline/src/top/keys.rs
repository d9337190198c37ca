//! What keys do: which page is shown, and how.

use super::view::View;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What the user chose to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ui {
    /// 0 all daemons, then each.
    pub(super) page: usize,
    /// Which of the daemon's channels.
    pub(super) channel: usize,
    /// Lines that are scrolled away.
    pub(super) scroll: u16,
    /// The picture stands still.
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) quit: bool,
}

/// Keys, and what they do.
pub(super) const KEYS: [(&str, &str); 7] = [
    ("Tab, Shift-Tab", "the next daemon, the one before; all of them"),
    ("Left, Right", "the daemon's channels"),
    ("Up, Down", "scroll"),
    ("Home, Esc", "back to all daemons"),
    ("p", "the picture stands still, or moves again"),
    ("?", "this"),
    ("q, Ctrl-C", "quit"),
];

impl Ui {
    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent, view: &View) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let pages = view.daemons.len() + 1;
        let daemon = view.daemons.get(self.page.wrapping_sub(1));
        let channels = daemon.map_or(1, |daemon| daemon.channels.len().max(1));
        // It may have fewer than when one was chosen.
        self.channel = self.channel.min(channels - 1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.quit = true,
            KeyCode::Char('q') => self.quit = true,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('?') => (self.help, self.scroll) = (!self.help, 0),
            KeyCode::Esc if self.help => (self.help, self.scroll) = (false, 0),
            KeyCode::Tab => self.go_to((self.page + 1) % pages),
            KeyCode::BackTab => self.go_to((self.page + pages - 1) % pages),
            KeyCode::Home | KeyCode::Esc => self.go_to(0),
            KeyCode::Right => self.show((self.channel + 1) % channels),
            KeyCode::Left => self.show((self.channel + channels - 1) % channels),
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            _ => {}
        }
    }

    fn go_to(&mut self, page: usize) {
        *self = Self {
            page,
            paused: self.paused,
            ..Self::default()
        };
    }

    fn show(&mut self, channel: usize) {
        (self.channel, self.scroll) = (channel, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::view::{ChannelView, DaemonView};

    fn view(channels: [usize; 2]) -> View {
        View {
            daemons: channels
                .map(|count| DaemonView {
                    channels: vec![ChannelView::default(); count],
                    ..DaemonView::default()
                })
                .into(),
            ..View::default()
        }
    }

    fn pressed(keys: &[KeyCode], view: &View) -> Ui {
        let mut ui = Ui::default();
        for key in keys {
            ui.press(KeyEvent::from(*key), view);
        }
        ui
    }

    #[test]
    fn tab_goes_round_all_daemons_and_the_overview() {
        let view = view([1, 1]);
        let pages: Vec<usize> = (0..4)
            .map(|times| pressed(&vec![KeyCode::Tab; times], &view).page)
            .collect();
        assert_eq!(pages, [0, 1, 2, 0]);
        assert_eq!(pressed(&[KeyCode::BackTab], &view).page, 2);
        assert_eq!(pressed(&[KeyCode::Tab, KeyCode::Home], &view).page, 0);
    }

    #[test]
    fn arrows_go_round_the_channels_and_scroll() {
        use KeyCode::{Down, Left, Right, Tab, Up};
        let view = view([3, 0]);
        assert_eq!(pressed(&[Tab, Right, Right], &view).channel, 2);
        assert_eq!(pressed(&[Tab, Right, Right, Right], &view).channel, 0);
        assert_eq!(pressed(&[Tab, Left], &view).channel, 2);
        assert_eq!(
            pressed(&[Tab, Tab, Right, Left], &view).channel,
            0,
            "a daemon without channels"
        );
        assert_eq!(pressed(&[Down, Down, Up], &view).scroll, 1);
        assert_eq!(pressed(&[Up], &view).scroll, 0);
        assert_eq!(
            pressed(&[Down, Tab], &view).scroll,
            0,
            "another page begins at its top"
        );
    }

    #[test]
    fn q_and_control_c_quit_p_pauses_and_a_question_mark_helps() {
        let view = view([1, 1]);
        assert!(pressed(&[KeyCode::Char('q')], &view).quit);
        let mut ui = Ui::default();
        ui.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), &view);
        assert!(ui.quit);
        assert!(!pressed(&[KeyCode::Char('c')], &view).quit);
        assert!(pressed(&[KeyCode::Char('p'), KeyCode::Tab], &view).paused);
        assert!(!pressed(&[KeyCode::Char('p'), KeyCode::Char('p')], &view).paused);
        assert!(pressed(&[KeyCode::Char('?')], &view).help);
        assert_eq!(pressed(&[KeyCode::Char('?'), KeyCode::Esc], &view), Ui::default());
        assert!(!pressed(&[KeyCode::Char('?'), KeyCode::Esc], &view).quit);
    }
}
