//! Members, items and slices; and what the library of jaq asks of a value.

use std::rc::Rc;

use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{ValT, ValX};

use super::{Error, Map, Result, Value, error, number, told};

/// The largest index that an array grows to, as in jq.
const INDEX_MAX: usize = 536_870_911;

/// The longest path that is gone, as in jq.
const PATH_MAX: usize = 10_000;

impl Value {
    /// The members or items, in their order.
    pub(crate) fn children(self) -> Result<Vec<Self>> {
        match self {
            Self::Array(items) => Ok(Rc::unwrap_or_clone(items)),
            Self::Object(members) => Ok(Rc::unwrap_or_clone(members).into_values().collect()),
            other => error(format!("Cannot iterate over {}", told(&other))),
        }
    }

    /// The same value with another one at the end of a path, where `change` may also take it away.
    pub(crate) fn changed<E: From<Error>>(
        self,
        path: &[Self],
        change: &mut dyn FnMut(Self) -> std::result::Result<Self, E>,
    ) -> std::result::Result<Self, E> {
        within_path(path)?;
        self.changed_at(path, change)
    }

    fn changed_at<E: From<Error>>(
        self,
        path: &[Self],
        change: &mut dyn FnMut(Self) -> std::result::Result<Self, E>,
    ) -> std::result::Result<Self, E> {
        let Some((part, rest)) = path.split_first() else {
            return change(self);
        };
        match (self, part) {
            (Self::Null, Self::Text(_)) => Self::object(Map::new()).changed_at(path, change),
            (Self::Null, Self::Number(_) | Self::Literal(_)) => {
                Self::array(Vec::new()).changed_at(path, change)
            }
            // A part of null is null, and not an empty array, until it is changed.
            (Self::Null, Self::Object(slice)) => {
                bounds(slice, 0)?;
                match Self::Null.changed_at(rest, change)? {
                    new @ Self::Array(_) => Ok(new),
                    _ => Ok(error("A slice of an array can only be assigned another array")?),
                }
            }
            (Self::Object(mut members), Self::Text(name)) => {
                let member = Rc::make_mut(&mut members).entry(name.clone()).or_default();
                *member = std::mem::take(member).changed_at(rest, change)?;
                Ok(Self::Object(members))
            }
            (Self::Array(mut items), Self::Number(_) | Self::Literal(_)) => {
                let index = part.number().unwrap_or(f64::NAN);
                if index.is_nan() {
                    return Ok(error("Cannot set array element at NaN index")?);
                }
                let items_len = items.len();
                let Some(index) = place(index, items_len) else {
                    return Ok(error("Out of bounds negative array index")?);
                };
                if index > INDEX_MAX {
                    return Ok(error("Array index too large")?);
                }
                let grown = Rc::make_mut(&mut items);
                if index >= items_len {
                    grown.resize(index + 1, Self::Null);
                }
                let item = &mut grown[index];
                *item = std::mem::take(item).changed_at(rest, change)?;
                Ok(Self::Array(items))
            }
            (Self::Array(mut items), Self::Object(slice)) => {
                let (from, until) = bounds(slice, items.len())?;
                let inside = Self::array(items[from..until].to_vec());
                match inside.changed_at(rest, change)? {
                    Self::Array(new) => {
                        Rc::make_mut(&mut items).splice(from..until, new.iter().cloned());
                        Ok(Self::Array(items))
                    }
                    _ => Ok(error("A slice of an array can only be assigned another array")?),
                }
            }
            (Self::Text(_), Self::Object(_)) => Ok(error("Cannot update string slices")?),
            (Self::Array(_), Self::Array(_)) => {
                Ok(error("Cannot update field at array index of array")?)
            }
            (value, part) => Ok(cannot_index(&value, part)?),
        }
    }

    /// The same value without what is at the ends of these paths, all of which are meant as it is now.
    pub(crate) fn without(self, mut paths: Vec<Self>) -> Result {
        paths.sort();
        let parts = paths.iter().map(|path| match path {
            Self::Array(path) => within_path(path).map(|()| path.as_slice()),
            _ => error("Path must be specified as an array"),
        });
        let parts: Vec<_> = parts.collect::<Result<_>>()?;
        self.without_sorted(&parts)
    }

    fn without_sorted(mut self, paths: &[&[Self]]) -> Result {
        if matches!(self, Self::Null) || paths.is_empty() {
            return Ok(self);
        }
        if paths.iter().any(|path| path.is_empty()) {
            return Ok(Self::Null);
        }
        let mut gone = Vec::new();
        for inside in paths.chunk_by(|one, other| one[0] == other[0]) {
            let part = &inside[0][0];
            if inside.iter().any(|path| path.len() == 1) {
                gone.push(part);
                continue;
            }
            let rest: Vec<_> = inside.iter().map(|path| &path[1..]).collect();
            if matches!(self.clone().index(part)?, Self::Null) {
                continue;
            }
            self =
                self.changed_at(std::slice::from_ref(part), &mut |it| it.without_sorted(&rest))?;
        }
        self.without_parts(&gone)
    }

    fn without_parts(self, parts: &[&Self]) -> Result {
        let cannot = |value: &Self, part: &Self| {
            error(format!("Cannot delete field at {} index of {}", part.kind(), value.kind()))
        };
        match self {
            Self::Object(mut members) => {
                for part in parts {
                    let Self::Text(name) = part else {
                        return cannot(&Self::Object(members), part);
                    };
                    if members.contains_key(name) {
                        Rc::make_mut(&mut members).shift_remove(name);
                    }
                }
                Ok(Self::Object(members))
            }
            Self::Array(items) => {
                let mut stays = vec![true; items.len()];
                for part in parts {
                    let (from, until) = match part {
                        Self::Number(_) | Self::Literal(_) => {
                            let index = part.number().unwrap_or(f64::NAN);
                            let index = place(index, items.len()).filter(|it| *it < items.len());
                            index.map_or((0, 0), |index| (index, index + 1))
                        }
                        Self::Object(slice) => bounds(slice, items.len())?,
                        _ => return cannot(&Self::Array(items), part),
                    };
                    stays[from..until].fill(false);
                }
                let items = items.iter().zip(stays).filter(|(_, stays)| *stays);
                Ok(items.map(|(item, _)| item.clone()).collect())
            }
            other => match parts.first() {
                None => Ok(other),
                Some(part) => cannot(&other, part),
            },
        }
    }
}

fn within_path(path: &[Value]) -> Result<()> {
    if path.len() > PATH_MAX { error("Path too deep") } else { Ok(()) }
}

fn cannot_index(value: &Value, part: &Value) -> Result {
    error(format!("Cannot index {} with {}", value.kind(), told(part)))
}

/// Where an index points in an array; none if that is before its beginning.
fn place(index: f64, length: usize) -> Option<usize> {
    if index.is_nan() {
        return None;
    }
    let index = index.floor();
    let index = if index < 0.0 { index + length as f64 } else { index };
    (index >= 0.0).then_some(index as usize)
}

/// Where a slice begins and ends.
fn bounds(slice: &Map, length: usize) -> Result<(usize, usize)> {
    let bound = |name: &str| slice.get(&name.to_owned()).unwrap_or(&Value::Null);
    range_bounds(Some(bound("start")), Some(bound("end")), length)
}

fn range_bounds(
    from: Option<&Value>,
    until: Option<&Value>,
    length: usize,
) -> Result<(usize, usize)> {
    let bound = |given: Option<&Value>, usual: f64| match given {
        None | Some(Value::Null) => Ok(usual),
        Some(value) => match value.number() {
            Some(bound) if bound.is_nan() => Ok(usual),
            Some(bound) if bound < 0.0 => Ok((bound + length as f64).max(0.0)),
            Some(bound) => Ok(bound.min(length as f64)),
            None => error("Start and end indices of an array slice must be numbers"),
        },
    };
    let (from, until) = (bound(from, 0.0)?, bound(until, length as f64)?);
    let (from, until) = (from.floor() as usize, until.ceil() as usize);
    Ok((from, until.max(from).min(length)))
}

/// Where one array stands in another.
pub(crate) fn places(items: &[Value], wanted: &[Value]) -> Value {
    if wanted.is_empty() {
        return Value::Null;
    }
    let places = items.windows(wanted.len()).enumerate();
    places.filter(|(_, window)| *window == wanted).map(|(place, _)| Value::from(place)).collect()
}

impl ValT for Value {
    fn from_num(text: &str) -> Result {
        Ok(number::parse(text).unwrap_or(Self::Number(f64::NAN)))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> Result {
        let named = members.into_iter().map(|(name, value)| match name {
            Self::Text(name) => Ok((name, value)),
            other => error(format!("Object keys must be strings, not {}", told(&other))),
        });
        named.collect::<Result<_>>().map(Self::object)
    }

    fn key_values(self) -> Box<dyn Iterator<Item = Result<(Self, Self)>>> {
        match self {
            Self::Array(items) => {
                let items = Rc::unwrap_or_clone(items).into_iter().enumerate();
                Box::new(items.map(|(index, item)| Ok((Self::from(index), item))))
            }
            Self::Object(members) => {
                let members = Rc::unwrap_or_clone(members).into_iter();
                Box::new(members.map(|(name, value)| Ok((Self::Text(name), value))))
            }
            other => Box::new(std::iter::once(error(format!("{} has no keys", told(&other))))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = Result>> {
        match self.children() {
            Ok(children) => Box::new(children.into_iter().map(Ok)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn index(self, index: &Self) -> Result {
        match (&self, index) {
            (Self::Object(members), Self::Text(name)) => {
                Ok(members.get(name).cloned().unwrap_or_default())
            }
            (Self::Array(items), Self::Number(_) | Self::Literal(_)) => {
                let place = place(index.number().unwrap_or(f64::NAN), items.len());
                Ok(place.and_then(|place| items.get(place)).cloned().unwrap_or_default())
            }
            (Self::Array(items), Self::Array(wanted)) => Ok(places(items, wanted)),
            (Self::Array(_) | Self::Text(_) | Self::Null, Self::Object(slice)) => {
                let bound = |name: &str| slice.get(&name.to_owned());
                let (start, end) = (bound("start"), bound("end"));
                self.clone().range(start..end)
            }
            (Self::Null, Self::Text(_) | Self::Number(_) | Self::Literal(_) | Self::Null) => {
                Ok(Self::Null)
            }
            _ => cannot_index(&self, index),
        }
    }

    fn range(self, range: Range<&Self>) -> Result {
        match self {
            Self::Null => Ok(Self::Null),
            Self::Array(items) => {
                let (from, until) = range_bounds(range.start, range.end, items.len())?;
                Ok(items[from..until].iter().cloned().collect())
            }
            Self::Text(text) => {
                let count = text.chars().count();
                let (from, until) = range_bounds(range.start, range.end, count)?;
                Ok(Self::text(text.chars().skip(from).take(until - from).collect::<String>()))
            }
            other => error(format!("Cannot index {} with object", other.kind())),
        }
    }

    // Updates are rewritten into paths and changes at their ends: none of these is called.

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        _: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        opt.fail(self, |_| Error::str("an update that is not supported").into())
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        _: &Self,
        opt: Opt,
        _: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        opt.fail(self, |_| Error::str("an update that is not supported").into())
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        _: Range<&Self>,
        opt: Opt,
        _: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        opt.fail(self, |_| Error::str("an update that is not supported").into())
    }

    fn as_bool(&self) -> bool {
        self.holds()
    }

    fn into_string(self) -> Self {
        match self {
            Self::Text(_) => self,
            other => Self::text(other.to_string()),
        }
    }
}

impl From<Range<Self>> for Value {
    fn from(range: Range<Self>) -> Self {
        let bound =
            |name: &str, bound: Option<Self>| (Rc::new(name.to_owned()), bound.unwrap_or_default());
        Self::object([bound("start", range.start), bound("end", range.end)].into_iter().collect())
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> std::result::Result<S, Self> {
        match self {
            Self::Array(items) => Ok(Rc::unwrap_or_clone(items).into_iter().collect()),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        self.as_isize().is_some()
    }

    fn as_isize(&self) -> Option<isize> {
        let number = self.number()?;
        let fits = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
        fits.then_some(number as isize)
    }

    fn as_f64(&self) -> Option<f64> {
        self.number()
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::text(String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::text(String::from_utf8_lossy(bytes.as_ref()))
    }
}
