//! Numbers out of rounds.

/// The middle of them; of an even number the upper one. `NaN` of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The mean of the middle half: for whole numbers of nanoseconds, of which a median would be one again. `NaN` of none.
pub(crate) fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    let kept = sorted.get(quarter..sorted.len() - quarter).unwrap_or_default();
    #[allow(clippy::cast_precision_loss, reason = "there are hundreds of rounds")]
    let count = kept.len() as f64;
    kept.iter().sum::<f64>() / count
}

/// The median of what each round gave as a ratio to the other's same round: what drifts over a run drops out.
pub(crate) fn median_ratio(values: &[f64], to: &[f64]) -> f64 {
    median(&values.iter().zip(to).map(|(value, to)| value / to).collect::<Vec<_>>())
}

/// With as many decimals as are worth reading.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_does_not_move_the_median() {
        assert_eq!(median(&[40.0, 41.0, 39.0, 900.0, 40.0]), 40.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_middle_half_is_neither_moved_by_outliers_nor_rounded() {
        assert_eq!(middle(&[1.0, 40.0, 41.0, 41.0, 40.0, 41.0, 900.0, 900.0]), 40.75);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine was twice as slow in the last two rounds.
        assert_eq!(median_ratio(&[11.0, 22.0, 22.0], &[10.0, 20.0, 20.0]), 1.1);
    }

    #[test]
    fn rounding_keeps_the_decimals_asked_for() {
        assert_eq!(rounded(1.23456, 2), 1.23);
    }
}
