//! Where a large text can be cut: between the elements of the list or set that is nearly all of
//! it. Pure.

use rnix::SyntaxKind::{self, *};

use super::Sizes;

/// The pieces of a text.
pub(super) struct Cuts {
    /// Where the bracket stands that opens the list or set.
    pub(super) open: usize,
    /// Where the pieces begin, and at last the bracket that closes it.
    pub(super) places: Vec<usize>,
}

/// Cuts a text; `None`: no list and no set is nearly all of it, or has what would be pieces.
///
/// It looks for brackets and ends of elements alone. Whether it was right is seen when the pieces
/// are read: elements in a row are elements, and nothing else is.
pub(super) fn of(text: &str, sizes: Sizes) -> Option<Cuts> {
    // Those that may be it, each with how many are open around it: they begin near the start.
    let mut near: Vec<(usize, Bracket)> = Vec::new();
    let (mut depth, mut at) = (0_usize, 0);
    for (kind, word) in rnix::tokenize(text) {
        let end = at + word.len();
        if closes(kind) {
            depth = depth.checked_sub(1)?;
            if let Some((_, bracket)) = near.pop_if(|(around, _)| *around == depth)
                && text.len() - end <= sizes.around
            {
                return bracket.cuts(at);
            }
        }
        if let Some((around, bracket)) = near.last_mut()
            && *around + 1 == depth
        {
            bracket.meet(kind, word, at, sizes.piece);
        }
        if opens(kind) {
            if matches!(kind, TOKEN_L_BRACK | TOKEN_L_BRACE) && at <= sizes.around {
                near.push((depth, Bracket::new(kind == TOKEN_L_BRACK, at)));
            }
            depth += 1;
        }
        at = end;
    }
    None
}

fn opens(kind: SyntaxKind) -> bool {
    let string = matches!(kind, TOKEN_STRING_START | TOKEN_INTERPOL_START);
    string || matches!(kind, TOKEN_L_BRACE | TOKEN_L_BRACK | TOKEN_L_PAREN)
}

fn closes(kind: SyntaxKind) -> bool {
    let string = matches!(kind, TOKEN_STRING_END | TOKEN_INTERPOL_END);
    string || matches!(kind, TOKEN_R_BRACE | TOKEN_R_BRACK | TOKEN_R_PAREN)
}

/// An open bracket, and the places between its elements.
struct Bracket {
    list: bool,
    open: usize,
    places: Vec<usize>,
    /// A place that counts if what follows begins another element, and whether it is after the
    /// line's end.
    next: Option<(usize, bool)>,
    /// The last token that is neither blanks nor a comment.
    last: SyntaxKind,
    /// `let` without its `in`.
    lets: usize,
    /// Semicolons to come that belong to `with` and `assert`.
    passing: usize,
}

impl Bracket {
    fn new(list: bool, open: usize) -> Self {
        let (places, last) = (vec![open + 1], TOKEN_ERROR);
        Self { list, open, places, next: None, last, lets: 0, passing: 0 }
    }

    fn cuts(mut self, close: usize) -> Option<Cuts> {
        self.places.push(close);
        (self.places.len() > 2).then_some(Cuts { open: self.open, places: self.places })
    }

    /// A token that stands in it, and in no other bracket within it.
    fn meet(&mut self, kind: SyntaxKind, word: &str, at: usize, piece: usize) {
        match kind {
            TOKEN_COMMENT => {}
            TOKEN_WHITESPACE => self.blanks(word, at),
            _ => {
                self.element(kind, piece);
                self.binding(kind, at + word.len());
                self.last = kind;
            }
        }
    }

    /// A comment on the line of an element stays with it.
    fn blanks(&mut self, word: &str, at: usize) {
        let end = word.find('\n').map(|line| at + line + 1);
        let part = matches!(self.last, TOKEN_DOT | TOKEN_OR | TOKEN_REC | TOKEN_ERROR);
        if self.list && self.next.is_none() && !part {
            self.next = Some((at, false));
        }
        if let (Some((_, false)), Some(end)) = (self.next, end) {
            self.next = Some((end, true));
        }
    }

    fn element(&mut self, kind: SyntaxKind, piece: usize) {
        let goes_on = self.list && matches!(kind, TOKEN_DOT | TOKEN_OR | TOKEN_COLON | TOKEN_AT);
        let Some((place, _)) = self.next.take().filter(|_| !goes_on) else { return };
        if self.places.last().is_some_and(|last| place - last >= piece) {
            self.places.push(place);
        }
    }

    fn binding(&mut self, kind: SyntaxKind, end: usize) {
        match kind {
            _ if self.list => {}
            TOKEN_LET => self.lets += 1,
            TOKEN_IN => self.lets = self.lets.saturating_sub(1),
            TOKEN_WITH | TOKEN_ASSERT => self.passing += 1,
            TOKEN_SEMICOLON if self.passing > 0 => self.passing -= 1,
            TOKEN_SEMICOLON if self.lets == 0 => self.next = Some((end, false)),
            _ => {}
        }
    }
}
