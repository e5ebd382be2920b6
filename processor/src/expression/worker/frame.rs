//! What goes between this process and a worker: a length, then so many parts, each with its length.

use bytes::Bytes;

use super::super::program::VARIABLES;
use super::super::question::{Dot, Question, Wanted};
use crate::step::{Output, StepError};
use crate::steps::RESULT_BYTES_MAX;

/// The longest frame that a worker sends.
pub(super) const ANSWER_BYTES_MAX: usize = RESULT_BYTES_MAX + 4 * 1024;

/// The length of a part that is not there.
const NOTHING: u32 = u32::MAX;

fn part(frame: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(NOTHING, |part| u32::try_from(part.len()).unwrap_or(NOTHING - 1));
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(part.unwrap_or_default());
}

fn whole(parts: Vec<Option<&[u8]>>) -> Vec<u8> {
    let mut frame = vec![0; 4];
    parts.into_iter().for_each(|it| part(&mut frame, it));
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

fn divided(mut frame: Bytes) -> Option<Vec<Option<Bytes>>> {
    let mut parts = Vec::new();
    while !frame.is_empty() {
        let length = frame.split_to_checked(4)?;
        let length = u32::from_le_bytes(length.as_ref().try_into().ok()?);
        parts.push(match length {
            NOTHING => None,
            length => Some(frame.split_to_checked(length as usize)?),
        });
    }
    Some(parts)
}

trait SplitChecked: Sized {
    fn split_to_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}

/// A question to a worker.
pub(super) fn from_question(code: &str, question: &Question) -> Vec<u8> {
    let wanted: &[u8] = match question.wanted {
        Wanted::Result => b"result",
        Wanted::Truth => b"truth",
        Wanted::Schema => b"schema",
    };
    let (form, dot): (&[u8], _) = match &question.dot {
        Dot::Json(json) => (b"json", json),
        Dot::Text(text) => (b"text", text),
    };
    let mut parts = vec![Some(wanted), Some(code.as_bytes()), Some(form), Some(dot.as_ref())];
    parts.extend(question.variables.iter().map(|json| json.as_deref()));
    whole(parts)
}

/// The expression and the question.
pub(super) fn to_question(frame: Bytes) -> Option<(String, Question)> {
    let mut parts = divided(frame)?.into_iter();
    let wanted = match parts.next()??.as_ref() {
        b"result" => Wanted::Result,
        b"truth" => Wanted::Truth,
        b"schema" => Wanted::Schema,
        _ => return None,
    };
    let code = String::from_utf8(parts.next()??.to_vec()).ok()?;
    let form = parts.next()??;
    let dot = parts.next()??;
    let dot = if form.as_ref() == b"json" { Dot::Json(dot) } else { Dot::Text(dot) };
    let variables: Vec<_> = parts.collect();
    (variables.len() == VARIABLES.len()).then_some((code, Question { wanted, dot, variables }))
}

/// A worker's answer.
pub(super) fn from_answer(answer: &Result<Output, StepError>) -> Vec<u8> {
    match answer {
        Ok(output) => whole(vec![Some(output.get().as_bytes())]),
        Err(error) => {
            whole(vec![None, Some(error.kind.as_bytes()), Some(error.message.as_bytes())])
        }
    }
}

/// The answer in a frame; none if it is no frame of ours.
pub(super) fn to_answer(frame: Bytes) -> Option<Result<Output, StepError>> {
    let mut parts = divided(frame)?.into_iter();
    let text = |part: Option<Bytes>| String::from_utf8(part?.to_vec()).ok();
    match parts.next()? {
        Some(json) => {
            let json = text(Some(json))?;
            Some(Ok(serde_json::value::RawValue::from_string(json).ok()?))
        }
        None => {
            let (kind, message) = (text(parts.next()?)?, text(parts.next()?)?);
            Some(Err(StepError::fatal(kind, message)))
        }
    }
}
