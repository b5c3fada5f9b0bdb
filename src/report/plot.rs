//! Small plots for a terminal: a line of bars for how something went, a bar for how much it is.

use super::look::Look;

/// Bars of eight heights, and what stands for them where only ASCII can be shown.
const HEIGHTS: [[char; 8]; 2] =
    [['.', ':', '-', '=', '+', '*', '%', '#'], ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']];
/// Eighths of a column.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A character for each value, the highest for the largest; 0 has the lowest.
pub fn spark(values: &[u64], look: &Look) -> String {
    let largest = values.iter().copied().max().unwrap_or(0).max(1);
    let heights = HEIGHTS[usize::from(look.unicode)];
    let level = |value: &u64| (u128::from(*value) * 7).div_ceil(u128::from(largest)) as usize;
    values.iter().map(|value| heights[level(value).min(7)]).collect()
}

/// A bar of at most so many columns, as long as its value is a part of the largest.
pub fn bar(value: f64, largest: f64, columns: usize, look: &Look) -> String {
    let part = if largest > 0.0 { (value / largest).clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (part * columns as f64 * 8.0).round() as usize;
    if !look.unicode {
        return "#".repeat((eighths + 4) / 8);
    }
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).and_then(|n| EIGHTHS.get(n)));
    bar
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::look::columns_of;

    fn looks() -> [Look; 2] {
        [Look::plain(), Look { unicode: true, ..Look::plain() }]
    }

    #[test]
    fn the_largest_is_the_highest() {
        let [ascii, unicode] = looks();
        assert_eq!(spark(&[0, 1, 50, 100], &unicode), "▁▂▅█");
        assert_eq!(spark(&[0, 1, 50, 100], &ascii), ".:+#");
        assert_eq!(spark(&[0, 0], &unicode), "▁▁");
        assert_eq!(
            (bar(1.0, 2.0, 4, &unicode), bar(1.0, 2.0, 4, &ascii)),
            ("██".into(), "##".into())
        );
        assert_eq!(bar(3.0, 16.0, 4, &unicode), "▊");
        assert_eq!(bar(1.0, 0.0, 4, &unicode), "");
    }

    proptest! {
        #[test]
        fn no_plot_is_wider_than_it_may_be(
            values in prop::collection::vec(any::<u64>(), 0..30),
            value in any::<f64>(), largest in any::<f64>(), columns in 0usize..80,
        ) {
            for look in looks() {
                prop_assert_eq!(columns_of(&spark(&values, &look)), values.len());
                prop_assert!(columns_of(&bar(value, largest, columns, &look)) <= columns);
            }
        }
    }
}
