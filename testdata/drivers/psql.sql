-- psql as a person uses it. The expected output is psql.out, made with PostgreSQL 15; ci/drivers compares the two.
\set ON_ERROR_STOP off
\set VERBOSITY verbose
\set SHOW_CONTEXT never
\pset pager off
\pset null '(null)'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS drv_psql CASCADE;
CREATE SCHEMA drv_psql;
SET search_path = drv_psql;

\echo == definitions
CREATE TABLE types (
    id integer PRIMARY KEY,
    b boolean, i2 smallint, i8 bigint, f4 real, f8 double precision, n numeric(12,3), nn numeric,
    t text NOT NULL DEFAULT 'none', v varchar(10), c char(4), ba bytea, d date, ti time, ts timestamp, tz timestamptz,
    iv interval, u uuid, j json, jb jsonb, o oid, ia integer[], ta text[]
);
\d types
\dt
\dn drv_psql
SELECT current_database() = :'DBNAME' AS same_database, current_schema();

\echo == rows
INSERT INTO types VALUES
    (1, true, -32768, 9223372036854775807, 1.5, 0.1, 123456789.125, 1e-10, 'text with '' and "', 'varchar', 'ab',
     '\xdeadbeef', '2024-02-29', '23:59:59.999999', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56+02',
     '1 year 2 mons 3 days 04:05:06.7', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, null]}', '{"b":1,"a":  2}',
     4294967295, '{1,NULL,3}', '{"a b","",NULL,"q\"q"}'),
    (2, NULL, NULL, NULL, 'NaN', '-Infinity', NULL, 'NaN', '', NULL, NULL, NULL, 'infinity', NULL, '-infinity', NULL,
     NULL, NULL, NULL, NULL, NULL, '{}', NULL);
INSERT INTO types (id) VALUES (3) RETURNING id, t;
SELECT * FROM types ORDER BY id \gx
SELECT id, n FROM types WHERE id < 3 ORDER BY id \gdesc
SELECT i2 AS answer FROM types WHERE id = 1 \gset
\echo :answer

\echo == prepared
PREPARE by_id (integer) AS SELECT t, v FROM types WHERE id = $1;
EXECUTE by_id (1);
DEALLOCATE by_id;
EXECUTE by_id (1);

\echo == copy
CREATE TABLE copied (id integer, note text);
COPY copied FROM STDIN;
1	one
2	\N
3	tab\there
\.
COPY copied TO STDOUT;
COPY copied FROM STDIN (FORMAT csv, HEADER);
id,note
4,"quoted, ""with"" commas"
5,
\.
COPY (SELECT * FROM copied WHERE id > 3 ORDER BY id) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (note));
COPY copied FROM STDIN;
6	six
seven	7
\.
SELECT count(*) FROM copied;
\copy (SELECT id FROM copied ORDER BY id LIMIT 2) TO STDOUT

\echo == transactions
BEGIN;
INSERT INTO copied VALUES (10, 'rolled back');
ROLLBACK;
BEGIN;
INSERT INTO copied VALUES (11, 'committed');
COMMIT;
SELECT id FROM copied WHERE id >= 10;
BEGIN;
SELECT 1/0;
SELECT 1;
COMMIT;

\echo == errors
SELECT nothing FROM types;
SELECT * FROM missing;
INSERT INTO types (id) VALUES (1);
INSERT INTO types (id, t) VALUES (9, NULL);
SELEC 1;
SELECT 'abc'::integer;
SELECT 1 \; SELECT 2;

\echo == notifications
LISTEN drv_psql;
LISTEN "drv psql";
SELECT pg_listening_channels() AS channel ORDER BY 1;
NOTIFY drv_psql;
NOTIFY Drv_Psql, 'with a payload';
SELECT pg_notify('drv psql', 'by the function');
BEGIN;
NOTIFY drv_psql, 'twice is once';
NOTIFY drv_psql, 'twice is once';
SAVEPOINT s;
NOTIFY drv_psql, 'rolled back';
ROLLBACK TO s;
SELECT 'not yet' AS told;
COMMIT;
BEGIN;
NOTIFY drv_psql, 'rolled back';
ROLLBACK;
UNLISTEN drv_psql;
NOTIFY drv_psql, 'unheard';
UNLISTEN *;
NOTIFY "drv psql", 'unheard';
SELECT pg_notify('', 'no channel');
SELECT pg_notify('drv_psql', repeat('x', 8000));

\echo == done
DROP SCHEMA drv_psql CASCADE;
