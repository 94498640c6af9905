//! Overload resolution for operators and functions (manual, 10.2 and 10.3; parse_func.c, func_select_candidate).

use kalamdb_catalog::PgType;

use crate::sql::coerce::can_coerce;

/// An overload: the declared types of its arguments, one for each argument given.
pub(super) trait Candidate: Copy {
    fn arg(&self, index: usize) -> PgType;

    /// True if polymorphic arguments can agree on these types.
    fn consistent(&self, types: &[PgType]) -> bool;
}

/// What resolution found.
pub(super) enum Choice<C> {
    One(C),
    None,
    Ambiguous,
}

/// Picks the overload for arguments of these types. All `candidates` take this number of arguments.
pub(super) fn choose<C: Candidate>(candidates: &[C], types: &[PgType]) -> Choice<C> {
    let n = types.len();
    let exact = candidates.iter().find(|c| (0..n).all(|i| c.arg(i) == types[i]));
    if let Some(c) = exact {
        return Choice::One(*c);
    }
    let usable: Vec<C> = candidates.iter().copied().filter(|c| fits(c, types)).collect();
    match usable.as_slice() {
        [] => return Choice::None,
        [one] => return Choice::One(*one),
        _ => {}
    }
    let best = keep_best(usable, |c| (0..n).filter(|&i| !unknown(types[i]) && c.arg(i) == types[i]).count());
    if let [one] = best.as_slice() {
        return Choice::One(*one);
    }
    let preferred = |c: &C| {
        (0..n)
            .filter(|&i| {
                let want = c.arg(i);
                !unknown(types[i])
                    && (want == types[i] || (want.info().category == types[i].info().category && want.info().preferred))
            })
            .count()
    };
    let best = keep_best(best, preferred);
    if let [one] = best.as_slice() {
        return Choice::One(*one);
    }
    if !types.iter().any(|t| unknown(*t)) {
        return Choice::Ambiguous;
    }
    match by_category(best, types) {
        Ok(one) => Choice::One(one),
        Err(left) => last_gasp(&left, types),
    }
}

fn fits<C: Candidate>(candidate: &C, types: &[PgType]) -> bool {
    (0..types.len()).all(|i| can_coerce(types[i], candidate.arg(i))) && candidate.consistent(types)
}

fn unknown(ty: PgType) -> bool {
    ty == PgType::UNKNOWN
}

fn keep_best<C: Candidate>(candidates: Vec<C>, score: impl Fn(&C) -> usize) -> Vec<C> {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.into_iter().filter(|c| score(c) == best).collect()
}

/// Unknown arguments take the string category if a candidate offers it, else the category all candidates share.
fn by_category<C: Candidate>(candidates: Vec<C>, types: &[PgType]) -> Result<C, Vec<C>> {
    let mut wanted: Vec<Option<(char, bool)>> = vec![None; types.len()];
    for i in (0..types.len()).filter(|&i| unknown(types[i])) {
        let categories: Vec<char> = candidates.iter().map(|c| c.arg(i).info().category).collect();
        let category = if categories.contains(&'S') {
            'S'
        } else if categories.iter().all(|c| *c == categories[0]) {
            categories[0]
        } else {
            return Err(candidates);
        };
        let preferred = candidates.iter().any(|c| c.arg(i).info().category == category && c.arg(i).info().preferred);
        wanted[i] = Some((category, preferred));
    }
    let left: Vec<C> = candidates
        .iter()
        .copied()
        .filter(|c| {
            wanted.iter().enumerate().all(|(i, w)| match w {
                Some((category, preferred)) => {
                    let info = c.arg(i).info();
                    info.category == *category && (!preferred || info.preferred)
                }
                None => true,
            })
        })
        .collect();
    match left.as_slice() {
        [one] => Ok(*one),
        [] => Err(candidates),
        _ => Err(left),
    }
}

/// If all known arguments have one type, the unknown ones are taken for it too.
fn last_gasp<C: Candidate>(candidates: &[C], types: &[PgType]) -> Choice<C> {
    let mut known = types.iter().copied().filter(|t| !unknown(*t));
    let Some(first) = known.next() else { return Choice::Ambiguous };
    if known.any(|t| t != first) {
        return Choice::Ambiguous;
    }
    let assumed = vec![first; types.len()];
    let mut usable = candidates.iter().filter(|c| fits(*c, &assumed));
    match (usable.next(), usable.next()) {
        (Some(one), None) => Choice::One(*one),
        _ => Choice::Ambiguous,
    }
}
