//! The functions by OID and by name, for regproc, regprocedure and the functions that describe functions.

use std::collections::HashMap;
use std::sync::OnceLock;

use kalamdb_catalog::PgType;
use kalamdb_catalog::builtin::types::IO_FUNCTIONS;

use crate::sql::functions;

/// What can be said of a function.
#[derive(Debug)]
pub(in crate::sql::functions) struct Procedure {
    pub(in crate::sql::functions) oid: u32,
    pub(in crate::sql::functions) name: &'static str,
    /// pg_type OIDs.
    pub(in crate::sql::functions) args: Vec<u32>,
    pub(in crate::sql::functions) variadic: bool,
    pub(in crate::sql::functions) ret: u32,
    pub(in crate::sql::functions) returns_set: bool,
}

struct Index {
    all: Vec<Procedure>,
    by_oid: HashMap<u32, usize>,
    by_name: HashMap<&'static str, Vec<usize>>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let oids = |types: &[PgType]| types.iter().map(|t| t.oid()).collect::<Vec<u32>>();
        let scalars = functions::all().map(|f| Procedure {
            oid: f.oid,
            name: f.name,
            args: oids(f.args),
            variadic: f.variadic,
            ret: f.ret.oid(),
            returns_set: f.returns_set,
        });
        let aggregates = functions::aggregates().map(|a| Procedure {
            oid: a.oid,
            name: a.name,
            args: oids(a.args),
            variadic: a.variadic,
            ret: a.ret.oid(),
            returns_set: false,
        });
        let io = IO_FUNCTIONS.iter().map(|f| Procedure {
            oid: f.oid,
            name: f.name,
            args: f.args.to_vec(),
            variadic: false,
            ret: f.ret,
            returns_set: false,
        });
        let mut index = Index { all: Vec::new(), by_oid: HashMap::new(), by_name: HashMap::new() };
        for procedure in scalars.chain(aggregates).chain(io) {
            if procedure.oid != 0 && !index.by_oid.contains_key(&procedure.oid) {
                index.by_oid.insert(procedure.oid, index.all.len());
                index.by_name.entry(procedure.name).or_default().push(index.all.len());
                index.all.push(procedure);
            }
        }
        index
    })
}

pub(in crate::sql::functions) fn by_oid(oid: u32) -> Option<&'static Procedure> {
    let index = index();
    index.by_oid.get(&oid).map(|i| &index.all[*i])
}

/// All functions of a name, in no order that means anything.
pub(in crate::sql::functions) fn by_name(name: &str) -> Vec<&'static Procedure> {
    let index = index();
    index.by_name.get(name).into_iter().flatten().map(|i| &index.all[*i]).collect()
}
