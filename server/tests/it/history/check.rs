//! The checker: what a history of appends and reads says about the order of its transactions.
//!
//! Dependencies between committed transactions are edges of a graph. ww: the second wrote next after the first; wr: the
//! second saw what the first wrote; rw: the first did not see what the second wrote, so it comes before it. Each level
//! rules out certain cycles (Adya, "Weak Consistency"; Cerone and Gotsman, "Analysing Snapshot Isolation").

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// From how many transactions of a component the shortest cycle is looked for.
const STARTS_MAX: usize = 200;

/// The registers' lists; one that is missing is empty.
pub(super) type Lists = BTreeMap<u64, Vec<u64>>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    ReadCommitted,
    /// REPEATABLE READ.
    Snapshot,
    Serializable,
}

impl Level {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Level::ReadCommitted => "read committed",
            Level::Snapshot => "repeatable read",
            Level::Serializable => "serializable",
        }
    }
}

#[derive(Clone)]
pub(super) enum Op {
    Append {
        register: u64,
        value: u64,
    },
    /// What SELECT or RETURNING showed.
    Read {
        register: u64,
        seen: Vec<u64>,
    },
}

pub(super) struct Txn {
    pub(super) ops: Vec<Op>,
    pub(super) committed: bool,
    /// Before its first message was sent, after its last answer had come; since the run's start.
    pub(super) began: Duration,
    pub(super) ended: Duration,
}

impl Txn {
    /// Its appends to a register among its first operations.
    fn appends(&self, to: u64, first: usize) -> Vec<u64> {
        let append = |op: &Op| match op {
            Op::Append { register, value } if *register == to => Some(*value),
            _ => None,
        };
        self.ops.iter().take(first).filter_map(append).collect()
    }

    /// Its reads: register, list, and how much of the list its own appends before are.
    fn reads(&self) -> impl Iterator<Item = (u64, &[u64], Vec<u64>)> {
        self.ops.iter().enumerate().filter_map(|(at, op)| match op {
            Op::Read { register, seen } => Some((*register, seen.as_slice(), self.appends(*register, at))),
            Op::Append { .. } => None,
        })
    }
}

impl fmt::Display for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} after {:?}..{:?}:",
            if self.committed { "committed" } else { "aborted" },
            self.began,
            self.ended
        )?;
        self.ops.iter().try_for_each(|op| match op {
            Op::Append { register, value } => write!(f, " append {value} to register {register};"),
            Op::Read { register, seen } => write!(f, " read register {register}: {seen:?};"),
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ww,
    Wr,
    Rw,
}

struct Edge {
    from: usize,
    to: usize,
    kind: Kind,
    register: u64,
    /// The append that was made, seen or missed.
    value: u64,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edge { from, to, register, value, .. } = self;
        match self.kind {
            Kind::Ww => {
                write!(f, "T{from} -ww-> T{to}: T{to} appended {value} to register {register} next after T{from}")
            }
            Kind::Wr => write!(f, "T{from} -wr-> T{to}: T{to} saw {value} of T{from} in register {register}"),
            Kind::Rw => write!(f, "T{from} -rw-> T{to}: T{from} did not see {value} of T{to} in register {register}"),
        }
    }
}

/// For each node the nodes that edges lead to, and by which edge.
type Steps = Vec<Vec<(usize, usize)>>;

/// What the checks look things up in. Nothing is ever taken out of a list, so the state at the end is each register's
/// longest list and gives the order of its versions: whatever is read must be a beginning of it.
struct History<'a> {
    txns: &'a [Txn],
    last: &'a Lists,
    /// Who appended a value, and to what.
    writers: HashMap<u64, (usize, u64)>,
}

/// The first anomaly found in a history that ends with the lists `last`.
pub(super) fn check(level: Level, txns: &[Txn], last: &Lists) -> Result<(), String> {
    let mut writers = HashMap::new();
    for (number, txn) in txns.iter().enumerate() {
        for op in &txn.ops {
            if let Op::Append { register, value } = op {
                writers.insert(*value, (number, *register));
            }
        }
    }
    let history = History { txns, last, writers };
    history.check_last()?;
    for (number, txn) in txns.iter().enumerate() {
        for (register, seen, own) in txn.reads() {
            history
                .check_read(number, register, seen, &own)
                .map_err(|what| format!("{what}, in T{number}'s read of register {register}\n  T{number} {txn}"))?;
        }
    }
    let edges = history.edges();
    match shortest_cycle(&steps(level, &edges, txns.len())) {
        Some(cycle) => Err(history.explain(&cycle.into_iter().map(|e| &edges[e]).collect::<Vec<_>>())),
        None => Ok(()),
    }
}

impl History<'_> {
    fn list(&self, register: u64) -> &[u64] {
        self.last.get(&register).map_or(&[], Vec::as_slice)
    }

    /// The transaction that appended a value, if it was committed.
    fn writer(&self, value: u64) -> Result<usize, String> {
        match self.writers.get(&value) {
            None => Err(format!("{value} is there, which nobody appended")),
            Some((txn, _)) if !self.txns[*txn].committed => {
                Err(format!("G1a (aborted read): {value} is there, of\n  T{txn} {}", self.txns[*txn]))
            }
            Some((txn, _)) => Ok(*txn),
        }
    }

    /// The end holds every acknowledged append once and nothing else.
    fn check_last(&self) -> Result<(), String> {
        let mut there = HashSet::new();
        for (register, list) in self.last {
            for value in list {
                self.writer(*value).map_err(|what| format!("{what}, in the final list of register {register}"))?;
                if !there.insert((*value, *register)) {
                    return Err(format!("duplicate append: {value} is twice in register {register}: {list:?}"));
                }
            }
        }
        for (value, (txn, register)) in &self.writers {
            if self.txns[*txn].committed && !there.remove(&(*value, *register)) {
                let list = self.list(*register);
                return Err(format!("lost append: {value} is not in {list:?}\n  T{txn} {}", self.txns[*txn]));
            }
        }
        match there.iter().next() {
            Some((value, register)) => Err(format!("{value} is in register {register}, but was appended to another")),
            None => Ok(()),
        }
    }

    /// One read: `own` is what the reader had appended to the register before. An aborted transaction's reads are held
    /// to the same: what it did next may have rested on them.
    fn check_read(&self, reader: usize, register: u64, seen: &[u64], own: &[u64]) -> Result<(), String> {
        let Some(others) = seen.strip_suffix(own) else { return Err(format!("its own {own:?} is not the end of it")) };
        for value in others {
            if self.writers.get(value).is_some_and(|w| w.0 == reader) {
                return Err(format!("its own {value} is there out of order"));
            }
            self.writer(*value)?;
        }
        let list = self.list(register);
        let lasting = if self.txns[reader].committed { seen } else { others };
        if !list.starts_with(lasting) {
            return Err(format!("no order of appends: {lasting:?} is not the beginning of the final {list:?}"));
        }
        if let Some(value) = others.last() {
            let writer = self.writer(*value)?;
            let whole = self.txns[writer].appends(register, usize::MAX);
            if whole.last() != Some(value) {
                return Err(format!("G1b (intermediate read): it ends with {value}, but T{writer} appended {whole:?}"));
            }
        }
        // Not part of the levels' definitions, but of what a server promises who answers a COMMIT.
        for value in &list[others.len()..] {
            let writer = self.writer(*value)?;
            if self.txns[writer].ended < self.txns[reader].began {
                return Err(format!("stale read: {value} of T{writer} was acknowledged before T{reader} began"));
            }
        }
        Ok(())
    }

    /// The dependencies between committed transactions. Each edge stands for all that follow from it: the next writer
    /// only, since the ones after depend on it.
    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut add = |from: Option<usize>, to: Option<usize>, kind, register, value| {
            if let (Some(from), Some(to)) = (from, to)
                && from != to
            {
                edges.push(Edge { from, to, kind, register, value });
            }
        };
        let writer = |value: u64| self.writers.get(&value).map(|w| w.0);
        for (register, list) in self.last {
            for pair in list.windows(2) {
                add(writer(pair[0]), writer(pair[1]), Kind::Ww, *register, pair[1]);
            }
        }
        for (number, txn) in self.txns.iter().enumerate().filter(|(_, txn)| txn.committed) {
            for (register, seen, own) in txn.reads() {
                let (before, after) = self.list(register).split_at(seen.len() - own.len());
                if let Some(value) = before.last() {
                    add(writer(*value), Some(number), Kind::Wr, register, *value);
                }
                if let Some(value) = after.first() {
                    add(Some(number), writer(*value), Kind::Rw, register, *value);
                }
            }
        }
        edges
    }

    fn explain(&self, cycle: &[&Edge]) -> String {
        let mut out = format!("{}: a cycle of {} transactions", anomaly(cycle), cycle.len());
        for edge in cycle {
            out += &format!("\n  {edge}");
        }
        for edge in cycle {
            out += &format!("\n  T{} {}", edge.from, self.txns[edge.from]);
        }
        out
    }
}

fn anomaly(cycle: &[&Edge]) -> &'static str {
    let count = |kind| cycle.iter().filter(|e| e.kind == kind).count();
    let one_register = cycle.windows(2).all(|pair| pair[0].register == pair[1].register);
    match (count(Kind::Rw), count(Kind::Wr)) {
        (0, 0) => "G0 (dirty write)",
        (0, _) => "G1c (circular information flow)",
        (1, 0) if one_register => "lost update",
        (1, _) => "G-single (read skew)",
        _ => "G2 (write skew, long fork and the like)",
    }
}

/// The edges that a forbidden cycle of the level is made of. In snapshot isolation that is every cycle in which no two
/// rw edges follow each other: each transaction has a second node, `count` further on, for being reached by an rw edge,
/// and from that no rw edge leads on.
fn steps(level: Level, edges: &[Edge], count: usize) -> Steps {
    let mut steps = vec![Vec::new(); 2 * count];
    for (number, edge) in edges.iter().enumerate() {
        match (edge.kind, level) {
            (Kind::Rw, Level::ReadCommitted) => {}
            (Kind::Rw, Level::Snapshot) => steps[edge.from].push((count + edge.to, number)),
            _ => {
                steps[edge.from].push((edge.to, number));
                steps[count + edge.from].push((edge.to, number));
            }
        }
    }
    steps
}

/// Tarjan's strongly connected components of more than one node. Not recursive: a history is a chain of thousands.
fn components(steps: &Steps) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut index = vec![NEW; steps.len()];
    let mut low = vec![NEW; steps.len()];
    let mut on_stack = vec![false; steps.len()];
    let (mut next, mut stack, mut found) = (0, Vec::new(), Vec::new());
    for root in 0..steps.len() {
        // A node, and how many of its steps have been taken.
        let mut calls = if index[root] == NEW { vec![(root, 0)] } else { Vec::new() };
        while let Some((node, taken)) = calls.pop() {
            if taken == 0 {
                (index[node], low[node], on_stack[node]) = (next, next, true);
                next += 1;
                stack.push(node);
            } else {
                let (child, _) = steps[node][taken - 1];
                if on_stack[child] {
                    low[node] = low[node].min(low[child]);
                }
            }
            if let Some((child, _)) = steps[node].get(taken) {
                calls.push((node, taken + 1));
                if index[*child] == NEW {
                    calls.push((*child, 0));
                }
            } else if low[node] == index[node] {
                let start = stack.iter().rposition(|n| *n == node).unwrap_or(0);
                let component = stack.split_off(start);
                component.iter().for_each(|n| on_stack[*n] = false);
                found.push(component);
            }
        }
    }
    found.retain(|component| component.len() > 1);
    found
}

/// The edges of a cycle, if there is one: a short one, since somebody has to read it.
fn shortest_cycle(steps: &Steps) -> Option<Vec<usize>> {
    let component = components(steps).into_iter().min_by_key(Vec::len)?;
    let inside: HashSet<usize> = component.iter().copied().collect();
    component.iter().take(STARTS_MAX).filter_map(|start| cycle_from(steps, &inside, *start)).min_by_key(Vec::len)
}

/// The shortest way from a node back to itself.
fn cycle_from(steps: &Steps, inside: &HashSet<usize>, start: usize) -> Option<Vec<usize>> {
    // From where and by which edge a node was reached first.
    let mut reached = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for (to, edge) in &steps[node] {
            if inside.contains(to) && !reached.contains_key(to) {
                reached.insert(*to, (node, *edge));
                queue.push_back(*to);
            }
        }
    }
    let mut cycle = Vec::new();
    let mut at = start;
    while cycle.is_empty() || at != start {
        let (from, edge) = reached.get(&at)?;
        cycle.push(*edge);
        at = *from;
    }
    cycle.reverse();
    Some(cycle)
}

/// A transaction that overlaps all others.
fn txn(committed: bool, ops: &[Op]) -> Txn {
    Txn { ops: ops.to_vec(), committed, began: Duration::ZERO, ended: Duration::from_secs(1) }
}

fn append(register: u64, value: u64) -> Op {
    Op::Append { register, value }
}

fn read(register: u64, seen: &[u64]) -> Op {
    Op::Read { register, seen: seen.to_vec() }
}

/// What each level says: the beginning of the anomaly's name, or "" where the history is allowed.
fn expect(txns: &[Txn], last: &[(u64, &[u64])], [committed, snapshot, serializable]: [&str; 3]) {
    let last: Lists = last.iter().map(|(register, list)| (*register, list.to_vec())).collect();
    for (level, wanted) in
        [(Level::ReadCommitted, committed), (Level::Snapshot, snapshot), (Level::Serializable, serializable)]
    {
        match check(level, txns, &last) {
            Ok(()) => assert_eq!(wanted, "", "{level:?} allows it"),
            Err(what) => assert!(!wanted.is_empty() && what.starts_with(wanted), "{level:?}, {wanted:?}: {what}"),
        }
    }
}

#[test]
fn a_clean_history_is_allowed() {
    let own = [read(1, &[1]), append(1, 2), read(1, &[1, 2]), append(2, 3), append(1, 4), read(1, &[1, 2, 4])];
    let txns =
        [txn(true, &[append(1, 1)]), txn(true, &own), txn(false, &[read(1, &[1]), append(1, 5), read(1, &[1, 5])])];
    expect(&txns, &[(1, &[1, 2, 4]), (2, &[3])], ["", "", ""]);
}

#[test]
fn write_skew_is_snapshot_isolation_but_not_serializable() {
    let both = [read(1, &[]), read(2, &[])];
    let txns = [1, 2].map(|n| txn(true, &[both[0].clone(), both[1].clone(), append(n, n)]));
    expect(&txns, &[(1, &[1]), (2, &[2])], ["", "", "G2"]);
}

#[test]
fn a_lost_update_is_read_committed_only() {
    let txns = [1, 2].map(|n| txn(true, &[read(1, &[]), append(1, n)]));
    expect(&txns, &[(1, &[1, 2])], ["", "lost update", "lost update"]);
}

#[test]
fn read_skew_and_a_fuzzy_read_are_read_committed_only() {
    let writer = || txn(true, &[append(1, 1), append(2, 2)]);
    let last: [(u64, &[u64]); 2] = [(1, &[1]), (2, &[2])];
    expect(&[writer(), txn(true, &[read(1, &[]), read(2, &[2])])], &last, ["", "G-single", "G-single"]);
    expect(&[writer(), txn(true, &[read(1, &[]), read(1, &[1])])], &last, ["", "G-single", "G-single"]);
}

#[test]
fn a_long_fork_is_not_snapshot_isolation() {
    // Two readers see two writes in opposite orders: two rw edges, each followed by a wr edge.
    let reads = [[read(1, &[1]), read(2, &[])], [read(1, &[]), read(2, &[2])]];
    let txns = [txn(true, &[append(1, 1)]), txn(true, &[append(2, 2)]), txn(true, &reads[0]), txn(true, &reads[1])];
    expect(&txns, &[(1, &[1]), (2, &[2])], ["", "G2", "G2"]);
}

#[test]
fn cycles_of_writes_and_what_was_seen_are_allowed_nowhere() {
    let crossed = [txn(true, &[append(1, 1), append(2, 3)]), txn(true, &[append(1, 2), append(2, 4)])];
    expect(&crossed, &[(1, &[1, 2]), (2, &[4, 3])], ["G0"; 3]);
    let circular = [txn(true, &[append(1, 1), read(2, &[2])]), txn(true, &[append(2, 2), read(1, &[1])])];
    expect(&circular, &[(1, &[1]), (2, &[2])], ["G1c"; 3]);
}

#[test]
fn what_was_aborted_is_seen_by_nobody() {
    let aborted = || txn(false, &[append(1, 1)]);
    expect(&[aborted(), txn(true, &[read(1, &[1])])], &[], ["G1a"; 3]);
    expect(&[aborted(), txn(false, &[read(1, &[1])])], &[], ["G1a"; 3]);
    expect(&[aborted()], &[(1, &[1])], ["G1a"; 3]);
}

#[test]
fn half_a_transaction_is_seen_by_nobody() {
    let txns = [txn(true, &[append(1, 1), append(1, 2)]), txn(true, &[read(1, &[1])])];
    expect(&txns, &[(1, &[1, 2])], ["G1b"; 3]);
}

#[test]
fn appends_are_there_once() {
    let txns = || [txn(true, &[append(1, 1)]), txn(true, &[append(1, 2)])];
    expect(&txns(), &[(1, &[2])], ["lost append"; 3]);
    expect(&txns(), &[(1, &[1, 2, 1])], ["duplicate append"; 3]);
    expect(&txns(), &[(1, &[1, 2, 3])], ["3 is there, which nobody appended"; 3]);
    expect(&txns(), &[(1, &[1, 2]), (2, &[2])], ["2 is in register 2"; 3]);
}

#[test]
fn reads_agree_on_one_order_and_with_what_the_reader_wrote() {
    let reader = |ops: &[Op]| [txn(true, &[append(1, 1)]), txn(true, &[append(1, 2)]), txn(true, ops)];
    expect(&reader(&[read(1, &[2])]), &[(1, &[1, 2])], ["no order"; 3]);
    expect(&reader(&[append(1, 3), read(1, &[1, 2])]), &[(1, &[1, 2, 3])], ["its own [3] is not the end"; 3]);
    expect(&reader(&[read(1, &[1, 2, 3]), append(1, 3)]), &[(1, &[1, 2, 3])], ["its own 3 is there"; 3]);
}

#[test]
fn what_was_acknowledged_is_seen_by_those_who_come_later() {
    let mut txns = [txn(true, &[append(1, 1)]), txn(true, &[read(1, &[])])];
    expect(&txns, &[(1, &[1])], [""; 3]);
    txns[1].began = Duration::from_secs(2);
    expect(&txns, &[(1, &[1])], ["stale read"; 3]);
}

#[test]
fn one_cycle_is_found_in_a_long_history() {
    // A chain through one register, as deep as it is long, and the last before the first by another.
    const COUNT: u64 = 50_000;
    let mut txns: Vec<Txn> = (0..COUNT).map(|n| txn(true, &[append(1, n)])).collect();
    let list: Vec<u64> = (0..COUNT).collect();
    expect(&txns, &[(1, &list)], [""; 3]);
    txns[COUNT as usize - 1].ops.push(append(2, COUNT));
    txns[COUNT as usize - 3].ops.push(read(2, &[COUNT]));
    expect(&txns, &[(1, &list), (2, &[COUNT])], ["G1c (circular information flow): a cycle of 3"; 3]);
}
