//! DynamoDB's expressions, as far as the product writes them: conditions, and changes of an item.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use everhook_journal::store::{Expression, Item};

/// Whether a condition holds for an item; none is an item without attributes.
pub(crate) fn holds(condition: &Expression, item: Option<&Item>) -> bool {
    let mut reader = Reader::new(condition, item);
    let result = reader.or();
    assert!(reader.rest.trim().is_empty(), "not understood: {}", reader.rest);
    result
}

/// Changes an item.
pub(crate) fn change(change: &Expression, item: &mut Item) {
    let before = item.clone();
    let mut reader = Reader::new(change, Some(&before));
    while !reader.rest.trim().is_empty() {
        if reader.word("SET") {
            loop {
                let name = reader.name();
                reader.expect("=");
                let value = reader.sum().expect("a value to set");
                item.insert(name, value);
                if !reader.word(",") {
                    break;
                }
            }
        } else if reader.word("REMOVE") {
            loop {
                let name = reader.name();
                item.remove(&name);
                if !reader.word(",") {
                    break;
                }
            }
        } else if reader.word("ADD") {
            let (name, added) = reader.change_of_set();
            let mut names = names_of(item.get(&name));
            names.extend(added);
            item.insert(name, AttributeValue::Ss(names.into_iter().collect()));
        } else if reader.word("DELETE") {
            let (name, removed) = reader.change_of_set();
            let mut names = names_of(item.get(&name));
            names.retain(|name| !removed.contains(name));
            // An empty set cannot be stored.
            match names.is_empty() {
                true => drop(item.remove(&name)),
                false => {
                    drop(item.insert(name, AttributeValue::Ss(names.into_iter().collect())));
                }
            }
        } else {
            panic!("not understood: {}", reader.rest);
        }
    }
}

/// The members of a set of texts.
fn names_of(set: Option<&AttributeValue>) -> BTreeSet<String> {
    let names = set.and_then(|set| set.as_ss().ok());
    names.into_iter().flatten().cloned().collect()
}

struct Reader<'e> {
    rest: &'e str,
    values: HashMap<&'e str, &'e AttributeValue>,
    item: Option<&'e Item>,
}

impl<'e> Reader<'e> {
    fn new(expression: &'e Expression, item: Option<&'e Item>) -> Self {
        let (rest, _, values) = expression.parts();
        let values = values.iter().map(|(name, value)| (*name, value)).collect();
        Self { rest, values, item }
    }

    fn word(&mut self, word: &str) -> bool {
        match self.rest.trim_start().strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, word: &str) {
        assert!(self.word(word), "`{word}` is missing before: {}", self.rest);
    }

    fn token(&mut self) -> &'e str {
        let rest = self.rest.trim_start();
        let end = rest[1..]
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(rest.len(), |n| n + 1);
        let (token, rest) = rest.split_at(end);
        self.rest = rest;
        token
    }

    fn name(&mut self) -> String {
        let token = self.token();
        token.strip_prefix('#').expect("an attribute's name").to_owned()
    }

    /// The set that is changed, and the members that are added or deleted.
    fn change_of_set(&mut self) -> (String, BTreeSet<String>) {
        let name = self.name();
        let members = self.operand();
        (name, names_of(members.as_ref()))
    }

    fn or(&mut self) -> bool {
        let mut result = self.and();
        while self.word("OR") {
            result |= self.and();
        }
        result
    }

    fn and(&mut self) -> bool {
        let mut result = self.test();
        while self.word("AND") {
            result &= self.test();
        }
        result
    }

    fn test(&mut self) -> bool {
        if self.word("(") {
            let result = self.or();
            self.expect(")");
            return result;
        }
        for (function, wanted) in [("attribute_exists(", true), ("attribute_not_exists(", false)] {
            if self.word(function) {
                let name = self.name();
                self.expect(")");
                return self.item.is_some_and(|item| item.contains_key(&name)) == wanted;
            }
        }
        let left = self.operand();
        if self.word("BETWEEN") {
            let low = self.operand();
            self.expect("AND");
            let high = self.operand();
            return is(&left, &low, Ordering::is_ge) && is(&left, &high, Ordering::is_le);
        }
        let tests: [(&str, Test); 5] = [
            ("<=", Ordering::is_le),
            (">=", Ordering::is_ge),
            ("<", Ordering::is_lt),
            (">", Ordering::is_gt),
            ("=", Ordering::is_eq),
        ];
        let test = tests.into_iter().find(|(sign, _)| self.word(sign));
        let (_, test) = test.unwrap_or_else(|| panic!("no comparison before: {}", self.rest));
        let right = self.operand();
        is(&left, &right, test)
    }

    fn sum(&mut self) -> Option<AttributeValue> {
        let left = self.operand();
        if !self.word("+") {
            return left;
        }
        let right = self.operand();
        let number = |value: Option<AttributeValue>| -> Option<i64> {
            value.and_then(|value| value.as_n().ok().and_then(|digits| digits.parse().ok()))
        };
        Some(AttributeValue::N((number(left)? + number(right)?).to_string()))
    }

    fn operand(&mut self) -> Option<AttributeValue> {
        if self.word("if_not_exists(") {
            let name = self.name();
            self.expect(",");
            let default = self.operand();
            self.expect(")");
            return self.item.and_then(|item| item.get(&name).cloned()).or(default);
        }
        let token = self.token();
        match token.strip_prefix('#') {
            Some(name) => self.item.and_then(|item| item.get(name).cloned()),
            None => Some(
                (*self.values.get(token).unwrap_or_else(|| panic!("no value {token}"))).clone(),
            ),
        }
    }
}

/// Whether an order is the one that is asked for.
type Test = fn(Ordering) -> bool;

/// A comparison with what is not there does not hold, whatever it is.
fn is(left: &Option<AttributeValue>, right: &Option<AttributeValue>, test: Test) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => compare(left, right).is_some_and(test),
        _ => false,
    }
}

/// Texts by their bytes, numbers by their value.
pub(crate) fn compare(left: &AttributeValue, right: &AttributeValue) -> Option<Ordering> {
    match (left, right) {
        (AttributeValue::S(left), AttributeValue::S(right)) => {
            Some(left.as_bytes().cmp(right.as_bytes()))
        }
        (AttributeValue::N(left), AttributeValue::N(right)) => {
            let (left, right): (i64, i64) = (left.parse().ok()?, right.parse().ok()?);
            Some(left.cmp(&right))
        }
        _ => None,
    }
}
