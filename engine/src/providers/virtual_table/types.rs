//! pg_type, pg_proc, pg_operator, pg_cast and relatives: what the server's own tables of types and functions say.

use kalamdb_catalog::builtin::types::{IO_FUNCTIONS, TYPE_IO};
use kalamdb_catalog::builtin::{BOOTSTRAP_ROLE_OID, types::type_io};
use kalamdb_catalog::catalog::PG_CATALOG_OID;
use kalamdb_catalog::table::FIRST_USER_OID;
use kalamdb_catalog::types::TYPES;
use kalamdb_catalog::{PgType, Result, TableDefinition};

use super::constants::{COMPARISONS, OPERATOR_CLASSES, OPERATOR_FAMILIES};
use super::{Hint, Rows, letter, oids, owned, relations, roles, text};
use crate::session::SessionContext;
use crate::sql::functions::{self, CastContext, FnDef, Volatility};
use crate::types::Value;

/// pg_language.oid of internal functions.
const INTERNAL_LANGUAGE: u32 = 12;

pub(super) fn pg_type(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for (info, io) in TYPES.iter().zip(TYPE_IO) {
        if !hint.admits_oid("oid", info.oid) || !hint.admits_name("typname", info.name) {
            continue;
        }
        rows.push(&[
            ("oid", Value::Oid(info.oid)),
            ("typname", text(info.name)),
            ("typnamespace", Value::Oid(PG_CATALOG_OID)),
            ("typowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
            ("typlen", Value::Int2(info.len)),
            ("typbyval", Value::Bool(info.by_value)),
            ("typtype", letter(info.kind)),
            ("typcategory", letter(info.category)),
            ("typispreferred", Value::Bool(info.preferred)),
            ("typisdefined", Value::Bool(true)),
            ("typdelim", letter(io.delimiter)),
            ("typsubscript", Value::Oid(io.subscript)),
            ("typelem", Value::Oid(info.elem)),
            ("typarray", Value::Oid(info.array)),
            ("typinput", Value::Oid(io.input)),
            ("typoutput", Value::Oid(io.output)),
            ("typreceive", Value::Oid(io.receive)),
            ("typsend", Value::Oid(io.send)),
            ("typmodin", Value::Oid(io.modin)),
            ("typmodout", Value::Oid(io.modout)),
            ("typanalyze", Value::Oid(io.analyze)),
            ("typalign", letter(info.align)),
            ("typstorage", letter(io.storage)),
            ("typtypmod", Value::Int4(-1)),
            ("typcollation", Value::Oid(io.collation)),
        ])?;
    }
    for table in relations::visible(session) {
        push_row_type(rows, hint, &table.definition)?;
    }
    Ok(())
}

/// The row type of a relation and, for users' relations, the array over it.
fn push_row_type(rows: &mut Rows<'_>, hint: &Hint<'_>, t: &TableDefinition) -> Result<()> {
    let array = if t.oid >= FIRST_USER_OID { t.row_type_oid + 1 } else { 0 };
    let array_name = format!("_{}", t.name);
    let kinds = [
        (t.row_type_oid, t.name.as_str(), PgType::RECORD, 'c', 'C', t.oid, 0, array),
        (array, &array_name, PgType::RECORD_ARRAY, 'b', 'A', 0, t.row_type_oid, 0),
    ];
    for (oid, name, like, kind, category, relation, element, array) in kinds {
        if oid == 0 || !hint.admits_oid("oid", oid) || !hint.admits_name("typname", name) {
            continue;
        }
        let Some(io) = type_io(like.oid()) else { continue };
        rows.push(&[
            ("oid", Value::Oid(oid)),
            ("typname", text(name)),
            ("typnamespace", Value::Oid(t.schema)),
            ("typowner", Value::Oid(roles::oid(&t.owner))),
            ("typlen", Value::Int2(-1)),
            ("typtype", letter(kind)),
            ("typcategory", letter(category)),
            ("typisdefined", Value::Bool(true)),
            ("typdelim", letter(',')),
            ("typrelid", Value::Oid(relation)),
            ("typsubscript", Value::Oid(io.subscript)),
            ("typelem", Value::Oid(element)),
            ("typarray", Value::Oid(array)),
            ("typinput", Value::Oid(io.input)),
            ("typoutput", Value::Oid(io.output)),
            ("typreceive", Value::Oid(io.receive)),
            ("typsend", Value::Oid(io.send)),
            ("typanalyze", Value::Oid(io.analyze)),
            ("typalign", letter('d')),
            ("typstorage", letter('x')),
            ("typtypmod", Value::Int4(-1)),
        ])?;
    }
    Ok(())
}

/// A row of pg_proc.
struct Procedure<'a> {
    oid: u32,
    name: &'a str,
    kind: char,
    strict: bool,
    returns_set: bool,
    volatility: char,
    args: Vec<u32>,
    variadic: u32,
    defaults: usize,
    ret: u32,
}

fn volatility(v: Volatility) -> char {
    match v {
        Volatility::Immutable => 'i',
        Volatility::Stable => 's',
        Volatility::Volatile => 'v',
    }
}

/// Argument types as pg_proc has them: a variadic parameter is an array of what is repeated.
fn argument_oids(args: &[PgType], variadic: bool) -> (Vec<u32>, u32) {
    let mut oids: Vec<u32> = args.iter().map(|a| a.oid()).collect();
    match (variadic, args.last(), oids.last_mut()) {
        (true, Some(element), Some(last)) => {
            *last = match *element {
                PgType::ANYELEMENT => PgType::ANYARRAY.oid(),
                PgType::ANYCOMPATIBLE => PgType::ANYCOMPATIBLEARRAY.oid(),
                e => e.array().unwrap_or(e).oid(),
            };
            (oids, element.oid())
        }
        _ => (oids, 0),
    }
}

fn procedure(f: &FnDef) -> Procedure<'_> {
    let (args, variadic) = argument_oids(f.args, f.variadic);
    Procedure {
        oid: f.oid,
        name: f.name,
        kind: 'f',
        strict: f.strict,
        returns_set: f.returns_set,
        volatility: volatility(f.volatility),
        args,
        variadic,
        defaults: f.optional,
        ret: f.ret.oid(),
    }
}

pub(super) fn pg_proc(rows: &mut Rows<'_>, hint: &Hint<'_>) -> Result<()> {
    let io = IO_FUNCTIONS.iter().map(|f| Procedure {
        oid: f.oid,
        name: f.name,
        kind: 'f',
        strict: f.strict,
        returns_set: false,
        volatility: f.volatility,
        args: f.args.to_vec(),
        variadic: 0,
        defaults: 0,
        ret: f.ret,
    });
    let comparisons = COMPARISONS.iter().map(|c| Procedure {
        oid: c.function,
        name: c.function_name,
        kind: 'f',
        strict: true,
        returns_set: false,
        volatility: 'i',
        args: vec![c.left, c.right],
        variadic: 0,
        defaults: 0,
        ret: PgType::BOOL.oid(),
    });
    let aggregates = functions::aggregates().map(|a| {
        let (args, variadic) = argument_oids(a.args, a.variadic);
        Procedure {
            oid: a.oid,
            name: a.name,
            kind: 'a',
            strict: false,
            returns_set: false,
            volatility: 'i',
            args,
            variadic,
            defaults: 0,
            ret: a.ret.oid(),
        }
    });
    let mut seen = std::collections::HashSet::new();
    for p in functions::all().map(procedure).chain(aggregates).chain(io).chain(comparisons) {
        // Several names may share a pg_proc row (current_user, user); what the grammar makes has none (current_date).
        if p.oid != 0 && hint.admits_oid("oid", p.oid) && hint.admits_name("proname", p.name) && seen.insert(p.oid) {
            push_procedure(rows, p)?;
        }
    }
    Ok(())
}

fn push_procedure(rows: &mut Rows<'_>, p: Procedure<'_>) -> Result<()> {
    rows.push(&[
        ("oid", Value::Oid(p.oid)),
        ("proname", text(p.name)),
        ("pronamespace", Value::Oid(PG_CATALOG_OID)),
        ("proowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
        ("prolang", Value::Oid(INTERNAL_LANGUAGE)),
        ("procost", Value::Float4(1.0)),
        ("prorows", Value::Float4(if p.returns_set { 1000.0 } else { 0.0 })),
        ("provariadic", Value::Oid(p.variadic)),
        ("prokind", letter(p.kind)),
        ("proisstrict", Value::Bool(p.strict)),
        ("proretset", Value::Bool(p.returns_set)),
        ("provolatile", letter(p.volatility)),
        ("proparallel", letter('s')),
        ("pronargs", Value::Int2(p.args.len() as i16)),
        ("pronargdefaults", Value::Int2(p.defaults as i16)),
        ("prorettype", Value::Oid(p.ret)),
        ("proargtypes", oids(p.args)),
        ("prosrc", text(if p.kind == 'a' { "aggregate_dummy" } else { p.name })),
    ])
}

pub(super) fn pg_aggregate(rows: &mut Rows<'_>) -> Result<()> {
    for a in functions::aggregates() {
        rows.push(&[
            ("aggfnoid", Value::Oid(a.oid)),
            ("aggkind", letter('n')),
            ("aggfinalmodify", letter('r')),
            ("aggmfinalmodify", letter('r')),
            ("aggtranstype", Value::Oid(PgType::INTERNAL.oid())),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_operator(rows: &mut Rows<'_>) -> Result<()> {
    for c in COMPARISONS {
        rows.push(&[
            ("oid", Value::Oid(c.oid)),
            ("oprname", text(c.name)),
            ("oprnamespace", Value::Oid(PG_CATALOG_OID)),
            ("oprowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
            ("oprkind", letter('b')),
            ("oprcanmerge", Value::Bool(c.can_merge)),
            ("oprcanhash", Value::Bool(c.can_hash)),
            ("oprleft", Value::Oid(c.left)),
            ("oprright", Value::Oid(c.right)),
            ("oprresult", Value::Oid(PgType::BOOL.oid())),
            ("oprcom", Value::Oid(c.commutator)),
            ("oprnegate", Value::Oid(c.negator)),
            ("oprcode", Value::Oid(c.function)),
        ])?;
    }
    for o in functions::operators() {
        rows.push(&[
            ("oid", Value::Oid(o.oid)),
            ("oprname", text(o.name)),
            ("oprnamespace", Value::Oid(PG_CATALOG_OID)),
            ("oprowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
            ("oprkind", letter(if o.left.is_some() { 'b' } else { 'l' })),
            ("oprleft", Value::Oid(o.left.map_or(0, PgType::oid))),
            ("oprright", Value::Oid(o.right.oid())),
            ("oprresult", Value::Oid(o.ret.oid())),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_cast(rows: &mut Rows<'_>) -> Result<()> {
    for (i, c) in functions::casts().enumerate() {
        let context = match c.context {
            CastContext::Implicit => 'i',
            CastContext::Assignment => 'a',
            CastContext::Explicit => 'e',
        };
        rows.push(&[
            ("oid", Value::Oid(10_000 + i as u32)),
            ("castsource", Value::Oid(c.from.oid())),
            ("casttarget", Value::Oid(c.to.oid())),
            ("castcontext", letter(context)),
            ("castmethod", letter('f')),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_opclass(rows: &mut Rows<'_>) -> Result<()> {
    for c in OPERATOR_CLASSES {
        rows.push(&[
            ("oid", Value::Oid(c.oid)),
            ("opcmethod", Value::Oid(c.method)),
            ("opcname", text(c.name)),
            ("opcnamespace", Value::Oid(PG_CATALOG_OID)),
            ("opcowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
            ("opcfamily", Value::Oid(c.family)),
            ("opcintype", Value::Oid(c.input)),
            ("opcdefault", Value::Bool(true)),
            ("opckeytype", Value::Oid(c.key)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_opfamily(rows: &mut Rows<'_>) -> Result<()> {
    for (oid, name, method) in OPERATOR_FAMILIES {
        rows.push(&[
            ("oid", Value::Oid(*oid)),
            ("opfmethod", Value::Oid(*method)),
            ("opfname", owned((*name).to_owned())),
            ("opfnamespace", Value::Oid(PG_CATALOG_OID)),
            ("opfowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
        ])?;
    }
    Ok(())
}
