//! The relations of schema `pg_catalog`: OIDs, columns and types of PostgreSQL 15.
//!
//! Row types are PostgreSQL's too. The OIDs that PostgreSQL gives out at initdb (views such as `pg_roles`) are those of
//! version 15.18; clients look them up by name.

use super::{BuiltinTable, Source::*, VirtualId, col, opt, table};
use crate::types::PgType;

const ACLITEM_ARRAY: PgType = PgType::ACLITEM_ARRAY;
const ANYARRAY: PgType = PgType::ANYARRAY;
const BOOL: PgType = PgType::BOOL;
const BYTEA: PgType = PgType::BYTEA;
const CHAR: PgType = PgType::CHAR;
const CHAR_ARRAY: PgType = PgType::CHAR_ARRAY;
const FLOAT4: PgType = PgType::FLOAT4;
const INET: PgType = PgType::INET;
const INT2: PgType = PgType::INT2;
const INT2VECTOR: PgType = PgType::INT2VECTOR;
const INT2_ARRAY: PgType = PgType::INT2_ARRAY;
const INT4: PgType = PgType::INT4;
const INT8: PgType = PgType::INT8;
const INTERVAL: PgType = PgType::INTERVAL;
const NAME: PgType = PgType::NAME;
const NAME_ARRAY: PgType = PgType::NAME_ARRAY;
const NUMERIC: PgType = PgType::NUMERIC;
const OID: PgType = PgType::OID;
const OIDVECTOR: PgType = PgType::OIDVECTOR;
const OID_ARRAY: PgType = PgType::OID_ARRAY;
const PG_LSN: PgType = PgType::PG_LSN;
const PG_NODE_TREE: PgType = PgType::PG_NODE_TREE;
const REGPROC: PgType = PgType::REGPROC;
const REGTYPE: PgType = PgType::REGTYPE;
const REGTYPE_ARRAY: PgType = PgType::REGTYPE_ARRAY;
const TEXT: PgType = PgType::TEXT;
const TEXT_ARRAY: PgType = PgType::TEXT_ARRAY;
const TIMESTAMPTZ: PgType = PgType::TIMESTAMPTZ;
const XID: PgType = PgType::XID;

const PG_TABLES: &str = "SELECT n.nspname AS schemaname, c.relname AS tablename, pg_catalog.pg_get_userbyid(c.relowner) AS \
    tableowner, t.spcname AS tablespace, c.relhasindex AS hasindexes, c.relhasrules AS hasrules, \
    c.relhastriggers AS hastriggers, c.relrowsecurity AS rowsecurity FROM pg_catalog.pg_class c LEFT \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_tablespace t ON \
    t.oid = c.reltablespace WHERE c.relkind IN ('r', 'p')";
const PG_VIEWS: &str = "SELECT n.nspname AS schemaname, c.relname AS viewname, pg_catalog.pg_get_userbyid(c.relowner) AS \
    viewowner, pg_catalog.pg_get_viewdef(c.oid) AS definition FROM pg_catalog.pg_class c LEFT JOIN \
    pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v'";
const PG_MATVIEWS: &str = "SELECT n.nspname AS schemaname, c.relname AS matviewname, pg_catalog.pg_get_userbyid(c.relowner) AS \
    matviewowner, t.spcname AS tablespace, c.relhasindex AS hasindexes, c.relispopulated AS ispopulated, \
    pg_catalog.pg_get_viewdef(c.oid) AS definition FROM pg_catalog.pg_class c LEFT JOIN \
    pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_tablespace t ON t.oid = \
    c.reltablespace WHERE c.relkind = 'm'";
const PG_INDEXES: &str = "SELECT n.nspname AS schemaname, c.relname AS tablename, i.relname AS indexname, t.spcname AS \
    tablespace, pg_catalog.pg_get_indexdef(i.oid) AS indexdef FROM pg_catalog.pg_index x JOIN \
    pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid LEFT \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_tablespace t ON \
    t.oid = i.reltablespace WHERE c.relkind IN ('r', 'm', 'p') AND i.relkind IN ('i', 'I')";

#[rustfmt::skip]
pub(super) static TABLES: &[BuiltinTable] = &[
    table(2600, 10027, "pg_aggregate", 'r', Virtual(VirtualId::PgAggregate), &[
        col("aggfnoid", REGPROC), col("aggkind", CHAR), col("aggnumdirectargs", INT2), col("aggtransfn", REGPROC),
        col("aggfinalfn", REGPROC), col("aggcombinefn", REGPROC), col("aggserialfn", REGPROC),
        col("aggdeserialfn", REGPROC), col("aggmtransfn", REGPROC), col("aggminvtransfn", REGPROC),
        col("aggmfinalfn", REGPROC), col("aggfinalextra", BOOL), col("aggmfinalextra", BOOL),
        col("aggfinalmodify", CHAR), col("aggmfinalmodify", CHAR), col("aggsortop", OID), col("aggtranstype", OID),
        col("aggtransspace", INT4), col("aggmtranstype", OID), col("aggmtransspace", INT4), opt("agginitval", TEXT),
        opt("aggminitval", TEXT),
    ]),
    table(2601, 10015, "pg_am", 'r', Virtual(VirtualId::PgAm), &[
        col("oid", OID), col("amname", NAME), col("amhandler", REGPROC), col("amtype", CHAR),
    ]),
    table(2602, 10017, "pg_amop", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("amopfamily", OID), col("amoplefttype", OID), col("amoprighttype", OID),
        col("amopstrategy", INT2), col("amoppurpose", CHAR), col("amopopr", OID), col("amopmethod", OID),
        col("amopsortfamily", OID),
    ]),
    table(2603, 10019, "pg_amproc", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("amprocfamily", OID), col("amproclefttype", OID), col("amprocrighttype", OID),
        col("amprocnum", INT2), col("amproc", REGPROC),
    ]),
    table(2604, 10001, "pg_attrdef", 'r', Virtual(VirtualId::PgAttrdef), &[
        col("oid", OID), col("adrelid", OID), col("adnum", INT2), col("adbin", PG_NODE_TREE),
    ]),
    table(1249, 75, "pg_attribute", 'r', Virtual(VirtualId::PgAttribute), &[
        col("attrelid", OID), col("attname", NAME), col("atttypid", OID), col("attstattarget", INT4),
        col("attlen", INT2), col("attnum", INT2), col("attndims", INT4), col("attcacheoff", INT4),
        col("atttypmod", INT4), col("attbyval", BOOL), col("attalign", CHAR), col("attstorage", CHAR),
        col("attcompression", CHAR), col("attnotnull", BOOL), col("atthasdef", BOOL), col("atthasmissing", BOOL),
        col("attidentity", CHAR), col("attgenerated", CHAR), col("attisdropped", BOOL), col("attislocal", BOOL),
        col("attinhcount", INT4), col("attcollation", OID), opt("attacl", ACLITEM_ARRAY),
        opt("attoptions", TEXT_ARRAY), opt("attfdwoptions", TEXT_ARRAY), opt("attmissingval", ANYARRAY),
    ]),
    table(1261, 2843, "pg_auth_members", 'r', Virtual(VirtualId::Empty), &[
        col("roleid", OID), col("member", OID), col("grantor", OID), col("admin_option", BOOL),
    ]),
    table(1260, 2842, "pg_authid", 'r', Virtual(VirtualId::PgAuthid), &[
        col("oid", OID), col("rolname", NAME), col("rolsuper", BOOL), col("rolinherit", BOOL),
        col("rolcreaterole", BOOL), col("rolcreatedb", BOOL), col("rolcanlogin", BOOL), col("rolreplication", BOOL),
        col("rolbypassrls", BOOL), col("rolconnlimit", INT4), opt("rolpassword", TEXT),
        opt("rolvaliduntil", TIMESTAMPTZ),
    ]),
    table(12081, 12083, "pg_available_extensions", 'v', Virtual(VirtualId::Empty), &[
        opt("name", NAME), opt("default_version", TEXT), opt("installed_version", TEXT), opt("comment", TEXT),
    ]),
    table(2605, 10043, "pg_cast", 'r', Virtual(VirtualId::PgCast), &[
        col("oid", OID), col("castsource", OID), col("casttarget", OID), col("castfunc", OID),
        col("castcontext", CHAR), col("castmethod", CHAR),
    ]),
    table(1259, 83, "pg_class", 'r', Virtual(VirtualId::PgClass), &[
        col("oid", OID), col("relname", NAME), col("relnamespace", OID), col("reltype", OID), col("reloftype", OID),
        col("relowner", OID), col("relam", OID), col("relfilenode", OID), col("reltablespace", OID),
        col("relpages", INT4), col("reltuples", FLOAT4), col("relallvisible", INT4), col("reltoastrelid", OID),
        col("relhasindex", BOOL), col("relisshared", BOOL), col("relpersistence", CHAR), col("relkind", CHAR),
        col("relnatts", INT2), col("relchecks", INT2), col("relhasrules", BOOL), col("relhastriggers", BOOL),
        col("relhassubclass", BOOL), col("relrowsecurity", BOOL), col("relforcerowsecurity", BOOL),
        col("relispopulated", BOOL), col("relreplident", CHAR), col("relispartition", BOOL), col("relrewrite", OID),
        col("relfrozenxid", XID), col("relminmxid", XID), opt("relacl", ACLITEM_ARRAY),
        opt("reloptions", TEXT_ARRAY), opt("relpartbound", PG_NODE_TREE),
    ]),
    table(3456, 10095, "pg_collation", 'r', Virtual(VirtualId::PgCollation), &[
        col("oid", OID), col("collname", NAME), col("collnamespace", OID), col("collowner", OID),
        col("collprovider", CHAR), col("collisdeterministic", BOOL), col("collencoding", INT4),
        opt("collcollate", TEXT), opt("collctype", TEXT), opt("colliculocale", TEXT), opt("collversion", TEXT),
    ]),
    table(2606, 10003, "pg_constraint", 'r', Virtual(VirtualId::PgConstraint), &[
        col("oid", OID), col("conname", NAME), col("connamespace", OID), col("contype", CHAR),
        col("condeferrable", BOOL), col("condeferred", BOOL), col("convalidated", BOOL), col("conrelid", OID),
        col("contypid", OID), col("conindid", OID), col("conparentid", OID), col("confrelid", OID),
        col("confupdtype", CHAR), col("confdeltype", CHAR), col("confmatchtype", CHAR), col("conislocal", BOOL),
        col("coninhcount", INT4), col("connoinherit", BOOL), opt("conkey", INT2_ARRAY), opt("confkey", INT2_ARRAY),
        opt("conpfeqop", OID_ARRAY), opt("conppeqop", OID_ARRAY), opt("conffeqop", OID_ARRAY),
        opt("confdelsetcols", INT2_ARRAY), opt("conexclop", OID_ARRAY), opt("conbin", PG_NODE_TREE),
    ]),
    table(2607, 10049, "pg_conversion", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("conname", NAME), col("connamespace", OID), col("conowner", OID),
        col("conforencoding", INT4), col("contoencoding", INT4), col("conproc", REGPROC), col("condefault", BOOL),
    ]),
    table(12077, 12079, "pg_cursors", 'v', Virtual(VirtualId::PgCursors), &[
        opt("name", TEXT), opt("statement", TEXT), opt("is_holdable", BOOL), opt("is_binary", BOOL),
        opt("is_scrollable", BOOL), opt("creation_time", TIMESTAMPTZ),
    ]),
    table(1262, 1248, "pg_database", 'r', Virtual(VirtualId::PgDatabase), &[
        col("oid", OID), col("datname", NAME), col("datdba", OID), col("encoding", INT4),
        col("datlocprovider", CHAR), col("datistemplate", BOOL), col("datallowconn", BOOL),
        col("datconnlimit", INT4), col("datfrozenxid", XID), col("datminmxid", XID), col("dattablespace", OID),
        col("datcollate", TEXT), col("datctype", TEXT), opt("daticulocale", TEXT), opt("datcollversion", TEXT),
        opt("datacl", ACLITEM_ARRAY),
    ]),
    table(2964, 10054, "pg_db_role_setting", 'r', Virtual(VirtualId::Empty), &[
        col("setdatabase", OID), col("setrole", OID), opt("setconfig", TEXT_ARRAY),
    ]),
    table(826, 10088, "pg_default_acl", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("defaclrole", OID), col("defaclnamespace", OID), col("defaclobjtype", CHAR),
        col("defaclacl", ACLITEM_ARRAY),
    ]),
    table(2608, 10051, "pg_depend", 'r', Virtual(VirtualId::PgDepend), &[
        col("classid", OID), col("objid", OID), col("objsubid", INT4), col("refclassid", OID), col("refobjid", OID),
        col("refobjsubid", INT4), col("deptype", CHAR),
    ]),
    table(2609, 10041, "pg_description", 'r', Virtual(VirtualId::Empty), &[
        col("objoid", OID), col("classoid", OID), col("objsubid", INT4), col("description", TEXT),
    ]),
    table(3501, 10045, "pg_enum", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("enumtypid", OID), col("enumsortorder", FLOAT4), col("enumlabel", NAME),
    ]),
    table(3466, 10039, "pg_event_trigger", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("evtname", NAME), col("evtevent", NAME), col("evtowner", OID), col("evtfoid", OID),
        col("evtenabled", CHAR), opt("evttags", TEXT_ARRAY),
    ]),
    table(3079, 10074, "pg_extension", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("extname", NAME), col("extowner", OID), col("extnamespace", OID),
        col("extrelocatable", BOOL), col("extversion", TEXT), opt("extconfig", OID_ARRAY),
        opt("extcondition", TEXT_ARRAY),
    ]),
    table(2328, 10076, "pg_foreign_data_wrapper", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("fdwname", NAME), col("fdwowner", OID), col("fdwhandler", OID),
        col("fdwvalidator", OID), opt("fdwacl", ACLITEM_ARRAY), opt("fdwoptions", TEXT_ARRAY),
    ]),
    table(1417, 10078, "pg_foreign_server", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("srvname", NAME), col("srvowner", OID), col("srvfdw", OID), opt("srvtype", TEXT),
        opt("srvversion", TEXT), opt("srvacl", ACLITEM_ARRAY), opt("srvoptions", TEXT_ARRAY),
    ]),
    table(3118, 10082, "pg_foreign_table", 'r', Virtual(VirtualId::Empty), &[
        col("ftrelid", OID), col("ftserver", OID), opt("ftoptions", TEXT_ARRAY),
    ]),
    table(2610, 10007, "pg_index", 'r', Virtual(VirtualId::PgIndex), &[
        col("indexrelid", OID), col("indrelid", OID), col("indnatts", INT2), col("indnkeyatts", INT2),
        col("indisunique", BOOL), col("indnullsnotdistinct", BOOL), col("indisprimary", BOOL),
        col("indisexclusion", BOOL), col("indimmediate", BOOL), col("indisclustered", BOOL), col("indisvalid", BOOL),
        col("indcheckxmin", BOOL), col("indisready", BOOL), col("indislive", BOOL), col("indisreplident", BOOL),
        col("indkey", INT2VECTOR), col("indcollation", OIDVECTOR), col("indclass", OIDVECTOR),
        col("indoption", INT2VECTOR), opt("indexprs", PG_NODE_TREE), opt("indpred", PG_NODE_TREE),
    ]),
    table(12043, 12045, "pg_indexes", 'v', View(PG_INDEXES), &[
        opt("schemaname", NAME), opt("tablename", NAME), opt("indexname", NAME), opt("tablespace", NAME),
        opt("indexdef", TEXT),
    ]),
    table(2611, 10005, "pg_inherits", 'r', Virtual(VirtualId::Empty), &[
        col("inhrelid", OID), col("inhparent", OID), col("inhseqno", INT4), col("inhdetachpending", BOOL),
    ]),
    table(3394, 10090, "pg_init_privs", 'r', Virtual(VirtualId::Empty), &[
        col("objoid", OID), col("classoid", OID), col("objsubid", INT4), col("privtype", CHAR),
        col("initprivs", ACLITEM_ARRAY),
    ]),
    table(2612, 10021, "pg_language", 'r', Virtual(VirtualId::PgLanguage), &[
        col("oid", OID), col("lanname", NAME), col("lanowner", OID), col("lanispl", BOOL), col("lanpltrusted", BOOL),
        col("lanplcallfoid", OID), col("laninline", OID), col("lanvalidator", OID), opt("lanacl", ACLITEM_ARRAY),
    ]),
    table(2995, 10023, "pg_largeobject_metadata", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("lomowner", OID), opt("lomacl", ACLITEM_ARRAY),
    ]),
    table(12073, 12075, "pg_locks", 'v', Virtual(VirtualId::PgLocks), &[
        opt("locktype", TEXT), opt("database", OID), opt("relation", OID), opt("page", INT4), opt("tuple", INT2),
        opt("virtualxid", TEXT), opt("transactionid", XID), opt("classid", OID), opt("objid", OID),
        opt("objsubid", INT2), opt("virtualtransaction", TEXT), opt("pid", INT4), opt("mode", TEXT),
        opt("granted", BOOL), opt("fastpath", BOOL), opt("waitstart", TIMESTAMPTZ),
    ]),
    table(12038, 12040, "pg_matviews", 'v', View(PG_MATVIEWS), &[
        opt("schemaname", NAME), opt("matviewname", NAME), opt("matviewowner", NAME), opt("tablespace", NAME),
        opt("hasindexes", BOOL), opt("ispopulated", BOOL), opt("definition", TEXT),
    ]),
    table(2615, 10047, "pg_namespace", 'r', Virtual(VirtualId::PgNamespace), &[
        col("oid", OID), col("nspname", NAME), col("nspowner", OID), opt("nspacl", ACLITEM_ARRAY),
    ]),
    table(2616, 10013, "pg_opclass", 'r', Virtual(VirtualId::PgOpclass), &[
        col("oid", OID), col("opcmethod", OID), col("opcname", NAME), col("opcnamespace", OID), col("opcowner", OID),
        col("opcfamily", OID), col("opcintype", OID), col("opcdefault", BOOL), col("opckeytype", OID),
    ]),
    table(2617, 10009, "pg_operator", 'r', Virtual(VirtualId::PgOperator), &[
        col("oid", OID), col("oprname", NAME), col("oprnamespace", OID), col("oprowner", OID), col("oprkind", CHAR),
        col("oprcanmerge", BOOL), col("oprcanhash", BOOL), col("oprleft", OID), col("oprright", OID),
        col("oprresult", OID), col("oprcom", OID), col("oprnegate", OID), col("oprcode", REGPROC),
        col("oprrest", REGPROC), col("oprjoin", REGPROC),
    ]),
    table(2753, 10011, "pg_opfamily", 'r', Virtual(VirtualId::PgOpfamily), &[
        col("oid", OID), col("opfmethod", OID), col("opfname", NAME), col("opfnamespace", OID), col("opfowner", OID),
    ]),
    table(3350, 10099, "pg_partitioned_table", 'r', Virtual(VirtualId::Empty), &[
        col("partrelid", OID), col("partstrat", CHAR), col("partnatts", INT2), col("partdefid", OID),
        col("partattrs", INT2VECTOR), col("partclass", OIDVECTOR), col("partcollation", OIDVECTOR),
        opt("partexprs", PG_NODE_TREE),
    ]),
    table(12018, 12020, "pg_policies", 'v', Virtual(VirtualId::Empty), &[
        opt("schemaname", NAME), opt("tablename", NAME), opt("policyname", NAME), opt("permissive", TEXT),
        opt("roles", NAME_ARRAY), opt("cmd", TEXT), opt("qual", TEXT), opt("with_check", TEXT),
    ]),
    table(3256, 10084, "pg_policy", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("polname", NAME), col("polrelid", OID), col("polcmd", CHAR), col("polpermissive", BOOL),
        col("polroles", OID_ARRAY), opt("polqual", PG_NODE_TREE), opt("polwithcheck", PG_NODE_TREE),
    ]),
    table(12095, 12097, "pg_prepared_statements", 'v', Virtual(VirtualId::Empty), &[
        opt("name", TEXT), opt("statement", TEXT), opt("prepare_time", TIMESTAMPTZ),
        opt("parameter_types", REGTYPE_ARRAY), opt("from_sql", BOOL), opt("generic_plans", INT8),
        opt("custom_plans", INT8),
    ]),
    table(12090, 12092, "pg_prepared_xacts", 'v', Virtual(VirtualId::Empty), &[
        opt("transaction", XID), opt("gid", TEXT), opt("prepared", TIMESTAMPTZ), opt("owner", NAME),
        opt("database", NAME),
    ]),
    table(1255, 81, "pg_proc", 'r', Virtual(VirtualId::PgProc), &[
        col("oid", OID), col("proname", NAME), col("pronamespace", OID), col("proowner", OID), col("prolang", OID),
        col("procost", FLOAT4), col("prorows", FLOAT4), col("provariadic", OID), col("prosupport", REGPROC),
        col("prokind", CHAR), col("prosecdef", BOOL), col("proleakproof", BOOL), col("proisstrict", BOOL),
        col("proretset", BOOL), col("provolatile", CHAR), col("proparallel", CHAR), col("pronargs", INT2),
        col("pronargdefaults", INT2), col("prorettype", OID), col("proargtypes", OIDVECTOR),
        opt("proallargtypes", OID_ARRAY), opt("proargmodes", CHAR_ARRAY), opt("proargnames", TEXT_ARRAY),
        opt("proargdefaults", PG_NODE_TREE), opt("protrftypes", OID_ARRAY), col("prosrc", TEXT), opt("probin", TEXT),
        opt("prosqlbody", PG_NODE_TREE), opt("proconfig", TEXT_ARRAY), opt("proacl", ACLITEM_ARRAY),
    ]),
    table(6104, 10107, "pg_publication", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("pubname", NAME), col("pubowner", OID), col("puballtables", BOOL),
        col("pubinsert", BOOL), col("pubupdate", BOOL), col("pubdelete", BOOL), col("pubtruncate", BOOL),
        col("pubviaroot", BOOL),
    ]),
    table(6237, 10109, "pg_publication_namespace", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("pnpubid", OID), col("pnnspid", OID),
    ]),
    table(6106, 10111, "pg_publication_rel", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("prpubid", OID), col("prrelid", OID), opt("prqual", PG_NODE_TREE),
        opt("prattrs", INT2VECTOR),
    ]),
    table(12068, 12070, "pg_publication_tables", 'v', Virtual(VirtualId::Empty), &[
        opt("pubname", NAME), opt("schemaname", NAME), opt("tablename", NAME), opt("attnames", NAME_ARRAY),
        opt("rowfilter", TEXT),
    ]),
    table(3541, 10101, "pg_range", 'r', Virtual(VirtualId::Empty), &[
        col("rngtypid", OID), col("rngsubtype", OID), col("rngmultitypid", OID), col("rngcollation", OID),
        col("rngsubopc", OID), col("rngcanonical", REGPROC), col("rngsubdiff", REGPROC),
    ]),
    table(12257, 12259, "pg_replication_slots", 'v', Virtual(VirtualId::Empty), &[
        opt("slot_name", NAME), opt("plugin", NAME), opt("slot_type", TEXT), opt("datoid", OID),
        opt("database", NAME), opt("temporary", BOOL), opt("active", BOOL), opt("active_pid", INT4),
        opt("xmin", XID), opt("catalog_xmin", XID), opt("restart_lsn", PG_LSN), opt("confirmed_flush_lsn", PG_LSN),
        opt("wal_status", TEXT), opt("safe_wal_size", INT8), opt("two_phase", BOOL),
    ]),
    table(2618, 10035, "pg_rewrite", 'r', Virtual(VirtualId::PgRewrite), &[
        col("oid", OID), col("rulename", NAME), col("ev_class", OID), col("ev_type", CHAR), col("ev_enabled", CHAR),
        col("is_instead", BOOL), col("ev_qual", PG_NODE_TREE), col("ev_action", PG_NODE_TREE),
    ]),
    table(12000, 12002, "pg_roles", 'v', Virtual(VirtualId::PgRoles), &[
        opt("rolname", NAME), opt("rolsuper", BOOL), opt("rolinherit", BOOL), opt("rolcreaterole", BOOL),
        opt("rolcreatedb", BOOL), opt("rolcanlogin", BOOL), opt("rolreplication", BOOL), opt("rolconnlimit", INT4),
        opt("rolpassword", TEXT), opt("rolvaliduntil", TIMESTAMPTZ), opt("rolbypassrls", BOOL),
        opt("rolconfig", TEXT_ARRAY), opt("oid", OID),
    ]),
    table(12023, 12025, "pg_rules", 'v', Virtual(VirtualId::Empty), &[
        opt("schemaname", NAME), opt("tablename", NAME), opt("rulename", NAME), opt("definition", TEXT),
    ]),
    table(3596, 10092, "pg_seclabel", 'r', Virtual(VirtualId::Empty), &[
        col("objoid", OID), col("classoid", OID), col("objsubid", INT4), col("provider", TEXT), col("label", TEXT),
    ]),
    table(12099, 12101, "pg_seclabels", 'v', Virtual(VirtualId::Empty), &[
        opt("objoid", OID), opt("classoid", OID), opt("objsubid", INT4), opt("objtype", TEXT),
        opt("objnamespace", OID), opt("objname", TEXT), opt("provider", TEXT), opt("label", TEXT),
    ]),
    table(2224, 10105, "pg_sequence", 'r', Virtual(VirtualId::PgSequence), &[
        col("seqrelid", OID), col("seqtypid", OID), col("seqstart", INT8), col("seqincrement", INT8),
        col("seqmax", INT8), col("seqmin", INT8), col("seqcache", INT8), col("seqcycle", BOOL),
    ]),
    table(12048, 12050, "pg_sequences", 'v', Virtual(VirtualId::PgSequences), &[
        opt("schemaname", NAME), opt("sequencename", NAME), opt("sequenceowner", NAME), opt("data_type", REGTYPE),
        opt("start_value", INT8), opt("min_value", INT8), opt("max_value", INT8), opt("increment_by", INT8),
        opt("cycle", BOOL), opt("cache_size", INT8), opt("last_value", INT8),
    ]),
    table(12104, 12106, "pg_settings", 'v', Virtual(VirtualId::PgSettings), &[
        opt("name", TEXT), opt("setting", TEXT), opt("unit", TEXT), opt("category", TEXT), opt("short_desc", TEXT),
        opt("extra_desc", TEXT), opt("context", TEXT), opt("vartype", TEXT), opt("source", TEXT),
        opt("min_val", TEXT), opt("max_val", TEXT), opt("enumvals", TEXT_ARRAY), opt("boot_val", TEXT),
        opt("reset_val", TEXT), opt("sourcefile", TEXT), opt("sourceline", INT4), opt("pending_restart", BOOL),
    ]),
    table(1214, 10060, "pg_shdepend", 'r', Virtual(VirtualId::Empty), &[
        col("dbid", OID), col("classid", OID), col("objid", OID), col("objsubid", INT4), col("refclassid", OID),
        col("refobjid", OID), col("deptype", CHAR),
    ]),
    table(2396, 10062, "pg_shdescription", 'r', Virtual(VirtualId::Empty), &[
        col("objoid", OID), col("classoid", OID), col("description", TEXT),
    ]),
    table(3592, 4066, "pg_shseclabel", 'r', Virtual(VirtualId::Empty), &[
        col("objoid", OID), col("classoid", OID), col("provider", TEXT), col("label", TEXT),
    ]),
    table(12222, 12224, "pg_stat_activity", 'v', Virtual(VirtualId::PgStatActivity), &[
        opt("datid", OID), opt("datname", NAME), opt("pid", INT4), opt("leader_pid", INT4), opt("usesysid", OID),
        opt("usename", NAME), opt("application_name", TEXT), opt("client_addr", INET), opt("client_hostname", TEXT),
        opt("client_port", INT4), opt("backend_start", TIMESTAMPTZ), opt("xact_start", TIMESTAMPTZ),
        opt("query_start", TIMESTAMPTZ), opt("state_change", TIMESTAMPTZ), opt("wait_event_type", TEXT),
        opt("wait_event", TEXT), opt("state", TEXT), opt("backend_xid", XID), opt("backend_xmin", XID),
        opt("query_id", INT8), opt("query", TEXT), opt("backend_type", TEXT),
    ]),
    table(12227, 12229, "pg_stat_replication", 'v', Virtual(VirtualId::Empty), &[
        opt("pid", INT4), opt("usesysid", OID), opt("usename", NAME), opt("application_name", TEXT),
        opt("client_addr", INET), opt("client_hostname", TEXT), opt("client_port", INT4),
        opt("backend_start", TIMESTAMPTZ), opt("backend_xmin", XID), opt("state", TEXT), opt("sent_lsn", PG_LSN),
        opt("write_lsn", PG_LSN), opt("flush_lsn", PG_LSN), opt("replay_lsn", PG_LSN), opt("write_lag", INTERVAL),
        opt("flush_lag", INTERVAL), opt("replay_lag", INTERVAL), opt("sync_priority", INT4), opt("sync_state", TEXT),
        opt("reply_time", TIMESTAMPTZ),
    ]),
    table(12249, 12251, "pg_stat_ssl", 'v', Virtual(VirtualId::Empty), &[
        opt("pid", INT4), opt("ssl", BOOL), opt("version", TEXT), opt("cipher", TEXT), opt("bits", INT4),
        opt("client_dn", TEXT), opt("client_serial", NUMERIC), opt("issuer_dn", TEXT),
    ]),
    table(12192, 12194, "pg_stat_user_indexes", 'v', Virtual(VirtualId::Empty), &[
        opt("relid", OID), opt("indexrelid", OID), opt("schemaname", NAME), opt("relname", NAME),
        opt("indexrelname", NAME), opt("idx_scan", INT8), opt("idx_tup_read", INT8), opt("idx_tup_fetch", INT8),
    ]),
    table(12161, 12163, "pg_stat_user_tables", 'v', Virtual(VirtualId::PgStatUserTables), &[
        opt("relid", OID), opt("schemaname", NAME), opt("relname", NAME), opt("seq_scan", INT8),
        opt("seq_tup_read", INT8), opt("idx_scan", INT8), opt("idx_tup_fetch", INT8), opt("n_tup_ins", INT8),
        opt("n_tup_upd", INT8), opt("n_tup_del", INT8), opt("n_tup_hot_upd", INT8), opt("n_live_tup", INT8),
        opt("n_dead_tup", INT8), opt("n_mod_since_analyze", INT8), opt("n_ins_since_vacuum", INT8),
        opt("last_vacuum", TIMESTAMPTZ), opt("last_autovacuum", TIMESTAMPTZ), opt("last_analyze", TIMESTAMPTZ),
        opt("last_autoanalyze", TIMESTAMPTZ), opt("vacuum_count", INT8), opt("autovacuum_count", INT8),
        opt("analyze_count", INT8), opt("autoanalyze_count", INT8),
    ]),
    table(12179, 12181, "pg_statio_user_tables", 'v', Virtual(VirtualId::Empty), &[
        opt("relid", OID), opt("schemaname", NAME), opt("relname", NAME), opt("heap_blks_read", INT8),
        opt("heap_blks_hit", INT8), opt("idx_blks_read", INT8), opt("idx_blks_hit", INT8),
        opt("toast_blks_read", INT8), opt("toast_blks_hit", INT8), opt("tidx_blks_read", INT8),
        opt("tidx_blks_hit", INT8),
    ]),
    table(3381, 10031, "pg_statistic_ext", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("stxrelid", OID), col("stxname", NAME), col("stxnamespace", OID), col("stxowner", OID),
        col("stxstattarget", INT4), col("stxkeys", INT2VECTOR), col("stxkind", CHAR_ARRAY),
        opt("stxexprs", PG_NODE_TREE),
    ]),
    table(6100, 6101, "pg_subscription", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("subdbid", OID), col("subskiplsn", PG_LSN), col("subname", NAME), col("subowner", OID),
        col("subenabled", BOOL), col("subbinary", BOOL), col("substream", BOOL), col("subtwophasestate", CHAR),
        col("subdisableonerr", BOOL), col("subconninfo", TEXT), opt("subslotname", NAME), col("subsynccommit", TEXT),
        col("subpublications", TEXT_ARRAY),
    ]),
    table(6102, 10114, "pg_subscription_rel", 'r', Virtual(VirtualId::Empty), &[
        col("srsubid", OID), col("srrelid", OID), col("srsubstate", CHAR), opt("srsublsn", PG_LSN),
    ]),
    table(12033, 12035, "pg_tables", 'v', View(PG_TABLES), &[
        opt("schemaname", NAME), opt("tablename", NAME), opt("tableowner", NAME), opt("tablespace", NAME),
        opt("hasindexes", BOOL), opt("hasrules", BOOL), opt("hastriggers", BOOL), opt("rowsecurity", BOOL),
    ]),
    table(1213, 10056, "pg_tablespace", 'r', Virtual(VirtualId::PgTablespace), &[
        col("oid", OID), col("spcname", NAME), col("spcowner", OID), opt("spcacl", ACLITEM_ARRAY),
        opt("spcoptions", TEXT_ARRAY),
    ]),
    table(12122, 12124, "pg_timezone_abbrevs", 'v', Virtual(VirtualId::Empty), &[
        opt("abbrev", TEXT), opt("utc_offset", INTERVAL), opt("is_dst", BOOL),
    ]),
    table(12126, 12128, "pg_timezone_names", 'v', Virtual(VirtualId::PgTimezoneNames), &[
        opt("name", TEXT), opt("abbrev", TEXT), opt("utc_offset", INTERVAL), opt("is_dst", BOOL),
    ]),
    table(3576, 10103, "pg_transform", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("trftype", OID), col("trflang", OID), col("trffromsql", REGPROC),
        col("trftosql", REGPROC),
    ]),
    table(2620, 10037, "pg_trigger", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("tgrelid", OID), col("tgparentid", OID), col("tgname", NAME), col("tgfoid", OID),
        col("tgtype", INT2), col("tgenabled", CHAR), col("tgisinternal", BOOL), col("tgconstrrelid", OID),
        col("tgconstrindid", OID), col("tgconstraint", OID), col("tgdeferrable", BOOL), col("tginitdeferred", BOOL),
        col("tgnargs", INT2), col("tgattr", INT2VECTOR), col("tgargs", BYTEA), opt("tgqual", PG_NODE_TREE),
        opt("tgoldtable", NAME), opt("tgnewtable", NAME),
    ]),
    table(3602, 10064, "pg_ts_config", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("cfgname", NAME), col("cfgnamespace", OID), col("cfgowner", OID), col("cfgparser", OID),
    ]),
    table(3600, 10068, "pg_ts_dict", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("dictname", NAME), col("dictnamespace", OID), col("dictowner", OID),
        col("dicttemplate", OID), opt("dictinitoption", TEXT),
    ]),
    table(3601, 10070, "pg_ts_parser", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("prsname", NAME), col("prsnamespace", OID), col("prsstart", REGPROC),
        col("prstoken", REGPROC), col("prsend", REGPROC), col("prsheadline", REGPROC), col("prslextype", REGPROC),
    ]),
    table(3764, 10072, "pg_ts_template", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("tmplname", NAME), col("tmplnamespace", OID), col("tmplinit", REGPROC),
        col("tmpllexize", REGPROC),
    ]),
    table(1247, 71, "pg_type", 'r', Virtual(VirtualId::PgType), &[
        col("oid", OID), col("typname", NAME), col("typnamespace", OID), col("typowner", OID), col("typlen", INT2),
        col("typbyval", BOOL), col("typtype", CHAR), col("typcategory", CHAR), col("typispreferred", BOOL),
        col("typisdefined", BOOL), col("typdelim", CHAR), col("typrelid", OID), col("typsubscript", REGPROC),
        col("typelem", OID), col("typarray", OID), col("typinput", REGPROC), col("typoutput", REGPROC),
        col("typreceive", REGPROC), col("typsend", REGPROC), col("typmodin", REGPROC), col("typmodout", REGPROC),
        col("typanalyze", REGPROC), col("typalign", CHAR), col("typstorage", CHAR), col("typnotnull", BOOL),
        col("typbasetype", OID), col("typtypmod", INT4), col("typndims", INT4), col("typcollation", OID),
        opt("typdefaultbin", PG_NODE_TREE), opt("typdefault", TEXT), opt("typacl", ACLITEM_ARRAY),
    ]),
    table(12014, 12016, "pg_user", 'v', Virtual(VirtualId::PgUser), &[
        opt("usename", NAME), opt("usesysid", OID), opt("usecreatedb", BOOL), opt("usesuper", BOOL),
        opt("userepl", BOOL), opt("usebypassrls", BOOL), opt("passwd", TEXT), opt("valuntil", TIMESTAMPTZ),
        opt("useconfig", TEXT_ARRAY),
    ]),
    table(1418, 10080, "pg_user_mapping", 'r', Virtual(VirtualId::Empty), &[
        col("oid", OID), col("umuser", OID), col("umserver", OID), opt("umoptions", TEXT_ARRAY),
    ]),
    table(12028, 12030, "pg_views", 'v', View(PG_VIEWS), &[
        opt("schemaname", NAME), opt("viewname", NAME), opt("viewowner", NAME), opt("definition", TEXT),
    ]),
];
