//! What someone who mistyped a name may have meant.

/// The known name that is most like the one given, if any is like it.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // `admin-listen` and `adminListen` are `admin_listen`.
    let plain = |text: &str| text.replace(['-', '_', ' '], "").to_lowercase();
    let wanted = plain(name);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["listen", "admin_listen", "role"];
        assert_eq!(nearest("admin-listen", known), Some("admin_listen"));
        assert_eq!(nearest("adminListne", known), Some("admin_listen"));
        assert_eq!(nearest("rol", known), Some("role"));
        assert_eq!(nearest("colour", known), None);
    }
}
