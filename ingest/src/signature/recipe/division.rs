//! Whether a text that was signed can be divided into its parts in one way only.
//!
//! A signature covers the parts of a template one after the other. If a value could end elsewhere,
//! a captured signature would fit another id beside another type, or another body.
//!
//! - A part is *fixed* if its own form says where it begins and ends: a constant, the method, a timestamp.
//! - Every other part beside the body is *open*. From the outer end of the text to the body, an open part ends
//!   where the constant after it begins, so its value must not contain that constant.
//! - The open part next to the body may also end where the body begins. No proper part of a JSON object or array
//!   that reaches to one of its ends is an object or an array, so such a body has one place only.
//! - Where nothing divides two open parts, neither counts as signed. Genuine requests are still accepted:
//!   what the sender signs is not in the hands of those who configure a source.

use std::borrow::Cow;

use crate::signature::template::{Part, Place};
use crate::signature::time::Unit;
use crate::signature::{Sent, Settings, Unverified};

/// What verification has to look at so that a signed text can be divided in one way only.
#[derive(Debug, Clone, Default)]
pub(super) struct Division {
    /// Before the body, from the start of the text.
    before: Side,
    /// After the body, from the end of the text.
    after: Side,
    /// Timestamps that touch a part of any length.
    bare_times: Vec<usize>,
    /// Whether a value of the body stands beside the body.
    reads_body: bool,
}

/// The open parts on one side of the body.
#[derive(Debug, Clone, Default)]
enum Side {
    /// There are none.
    #[default]
    Fixed,
    /// Each but the last one is divided by a constant from what follows towards the body.
    Divided(Vec<Open>),
    /// Nothing divides two of them.
    Ambiguous(Vec<usize>),
}

/// A part of any length.
#[derive(Debug, Clone)]
struct Open {
    part: usize,
    /// The constant that ends it on the side of the body; empty if there is none.
    delimiter: String,
    is_url: bool,
}

impl Division {
    /// How the text of this template can be divided. Its error says what is wrong with the template.
    pub(super) fn of(
        signed: &[Part],
        timestamp: Option<&Place>,
        template: &str,
    ) -> Result<Self, String> {
        let Some(body) = signed.iter().position(|part| *part == Part::Body) else {
            return Ok(Self::default());
        };
        let problem = |what: &str| Err(format!("`signed` = \"{template}\" {what}"));
        if signed[body + 1..].contains(&Part::Body) {
            return problem("has {body} twice; once is enough");
        }
        let is_time = |part: &Part| match part {
            Part::Timestamp => true,
            Part::At(place) => Some(place) == timestamp,
            Part::Const(_) | Part::Method | Part::Url | Part::Uri | Part::Body => false,
        };
        let is_open = |part: &Part| match part {
            Part::At(Place::Header(_) | Place::Entry(_)) => !is_time(part),
            Part::Url | Part::Uri => true,
            // What a value in the body is, the body says.
            Part::At(Place::Json(_))
            | Part::Const(_)
            | Part::Timestamp
            | Part::Method
            | Part::Body => false,
        };
        let reads_body = signed.iter().any(|part| matches!(part, Part::At(Place::Json(_))));
        let before = Side::of(signed, 0..body, is_open);
        let after = Side::of(signed, (body + 1..signed.len()).rev(), is_open);
        for (side, order) in
            [(&before, (0..body).collect()), (&after, (body + 1..signed.len()).rev().collect())]
        {
            let order: Vec<usize> = order;
            let opened = order.iter().position(|part| is_open(&signed[*part]));
            let times = order.iter().rposition(|part| is_time(&signed[*part]));
            if let (Side::Ambiguous(_), Some(opened), Some(time)) = (side, opened, times)
                && opened < time
            {
                return problem(
                    "has a timestamp beside values that nothing divides from each other, \
                     so that a part of one could pass for the time: put a text between them",
                );
            }
        }
        if !before.is_fixed() && !after.is_fixed() && (reads_body || !before.ends_by_itself()) {
            return problem(
                "has parts of any length on both sides of {body}, so that the body could begin elsewhere: \
                 put a text between {body} and the part before it",
            );
        }
        let digit_at = |at: Option<usize>, is_last: bool| match at.and_then(|at| signed.get(at)) {
            Some(Part::Const(text)) => {
                let edge = if is_last { text.chars().next_back() } else { text.chars().next() };
                edge.is_none_or(|edge| edge.is_ascii_digit())
            }
            Some(Part::Method) | None => false,
            Some(_) => true,
        };
        let bare_times = (0..signed.len())
            .filter(|at| is_time(&signed[*at]))
            .filter(|at| digit_at(at.checked_sub(1), true) || digit_at(Some(at + 1), false))
            .collect();
        Ok(Self { before, after, bare_times, reads_body })
    }

    /// Whether the text says where this part begins and ends.
    pub(super) fn divides(&self, part: usize) -> bool {
        [&self.before, &self.after].into_iter().all(|side| match side {
            Side::Ambiguous(parts) => !parts.contains(&part),
            Side::Fixed | Side::Divided(_) => true,
        })
    }

    /// Whether there are parts that nothing divides.
    pub(super) fn is_ambiguous(&self) -> bool {
        [&self.before, &self.after].into_iter().any(|side| matches!(side, Side::Ambiguous(_)))
    }

    /// Refuses a text that could be divided in another way as well.
    pub(super) fn check(
        &self,
        parts: &[Cow<'_, [u8]>],
        unit: Unit,
        settings: &Settings,
        sent: &Sent<'_>,
    ) -> Result<(), Unverified> {
        let is_divided = |divided: bool| if divided { Ok(()) } else { Err(Unverified::Divisible) };
        let has_one_length = |at: &usize| parts.get(*at).is_none_or(|text| unit.is_fixed(text));
        is_divided(self.bare_times.iter().all(has_one_length))?;
        if self.before.is_fixed() && self.after.is_fixed() {
            return Ok(());
        }
        let body: &[u8] = sent.body;
        let is_container = matches!((body.first(), body.last()), (Some(b'{'), Some(b'}')))
            || matches!((body.first(), body.last()), (Some(b'['), Some(b']')));
        is_divided(is_container || !self.reads_body)?;
        let has_query = !sent.query.is_empty()
            && !settings.public_url.as_ref().is_some_and(|url| url.contains('?'));
        // If both sides are open, the body has one place only because the first side ends by itself.
        let ends_body = is_container && self.after.is_fixed();
        is_divided(self.before.is_divided(parts, ends_body, has_query, is_end))?;
        is_divided(self.after.is_divided(parts, is_container, has_query, is_start))
    }
}

impl Side {
    /// The open parts at these places, which lead from an end of the text to the body.
    fn of(
        signed: &[Part],
        order: impl Iterator<Item = usize>,
        is_open: impl Fn(&Part) -> bool,
    ) -> Self {
        let order: Vec<usize> = order.collect();
        let mut open = Vec::new();
        for (at, part) in order.iter().enumerate().filter(|(_, part)| is_open(&signed[**part])) {
            let delimiter = match order.get(at + 1).map(|next| &signed[*next]) {
                Some(Part::Const(text)) => text.clone(),
                _ => String::new(),
            };
            let is_url = matches!(signed[*part], Part::Url | Part::Uri);
            open.push(Open { part: *part, delimiter, is_url });
        }
        match open.split_last() {
            None => Self::Fixed,
            Some((_, outer)) if outer.iter().all(Open::ends_by_itself) => Self::Divided(open),
            Some(_) => Self::Ambiguous(open.into_iter().map(|open| open.part).collect()),
        }
    }

    fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed)
    }

    /// Whether constants say where each of its parts ends, whatever the body is.
    fn ends_by_itself(&self) -> bool {
        match self {
            Self::Fixed => true,
            Self::Divided(open) => open.iter().all(Open::ends_by_itself),
            Self::Ambiguous(_) => false,
        }
    }

    /// Whether these values end at their delimiters, and the one next to the body there or at the body.
    fn is_divided(
        &self,
        parts: &[Cow<'_, [u8]>],
        ends_at_body: bool,
        has_query: bool,
        ends: impl Fn(&[u8], &[u8]) -> bool,
    ) -> bool {
        let open = match self {
            Self::Fixed => return true,
            Self::Ambiguous(_) => return ends_at_body,
            Self::Divided(open) => open,
        };
        let Some((inner, outer)) = open.split_last() else { return true };
        let ends = |open: &Open| {
            let value = parts.get(open.part).map_or(&[][..], AsRef::as_ref);
            open.ends_by_itself() && ends(value, open.delimiter.as_bytes())
        };
        outer.iter().all(ends) && (ends_at_body || ends(inner) || inner.is_url && !has_query)
    }
}

impl Open {
    /// Whether a constant can say where it ends. A URL contains what it likes.
    fn ends_by_itself(&self) -> bool {
        !self.delimiter.is_empty() && !self.is_url
    }
}

/// Whether a delimiter after a value begins nowhere in the value.
fn is_end(value: &[u8], delimiter: &[u8]) -> bool {
    let text = [value, delimiter].concat();
    text.windows(delimiter.len()).position(|found| found == delimiter) == Some(value.len())
}

/// Whether a delimiter before a value ends nowhere in the value.
fn is_start(value: &[u8], delimiter: &[u8]) -> bool {
    let text = [delimiter, value].concat();
    text.windows(delimiter.len()).rposition(|found| found == delimiter) == Some(0)
}
