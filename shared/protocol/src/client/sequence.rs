//! Lists and objects that are written straight from an iterator, so that nothing is collected or copied for them.

use serde::{Serialize, Serializer};

/// A JSON list of what the iterator yields.
pub struct List<I>(pub I);

/// A JSON object of the keys and values that the iterator yields.
pub struct Object<I>(pub I);

impl<I> Serialize for List<I>
where
    I: Iterator<Item: Serialize> + Clone,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

impl<I, K, V> Serialize for Object<I>
where
    I: Iterator<Item = (K, V)> + Clone,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}
