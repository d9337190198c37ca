//! What several tests of this package share.

/// A Rust name as the schema writes it: `source_time` is `sourceTime`.
pub(crate) fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let (initial, rest) = word.split_at(1);
        name.push_str(&initial.to_uppercase());
        name.push_str(rest);
        name
    })
}
