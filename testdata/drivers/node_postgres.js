// node-postgres (pg): simple and named statements, text and binary results, COPY streams, a cursor stream, a pool, notifications.
'use strict'
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { Client, Pool, escapeIdentifier } = require('pg')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')
const QueryStream = require('pg-query-stream')
const { settings, equal, failure, Inbox, live, hasLive, liveEqual } = require('./checks.js')

// type, parameter, result
const TEXT = [
  ['boolean', true, true],
  ['smallint', -32768, -32768],
  ['integer', 2147483647, 2147483647],
  ['bigint', '9223372036854775807', '9223372036854775807'],
  ['oid', 4294967295, 4294967295],
  ['real', 1.5, 1.5],
  ['double precision', 0.1, 0.1],
  ['numeric', '12345678901234567890.50', '12345678901234567890.50'],
  ['text', "naïve 'quoted' 🐘", "naïve 'quoted' 🐘"],
  ['varchar(5)', 'abc', 'abc'],
  ['char(4)', 'ab', 'ab  '],
  ['bytea', Buffer.from([0, 1, 254, 255]), Buffer.from([0, 1, 254, 255])],
  ['timestamptz', '2024-02-29T12:00:00.500Z', new Date('2024-02-29T12:00:00.500Z')],
  ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['json', { a: [1, null] }, { a: [1, null] }],
  ['jsonb', { b: 1, a: [true] }, { b: 1, a: [true] }],
  ['integer[]', [1, null, 3], [1, null, 3]],
  ['text[]', ['a b', null, 'q"\\'], ['a b', null, 'q"\\']],
]

// pg reads every result as UTF-8 before it looks at its format: binary values whose bytes are all below 128 survive.
const BINARY = [
  ['boolean', true, true],
  ['smallint', 258, 258],
  ['integer', 16909060, 16909060],
  ['bigint', '72623859790382856', '72623859790382856'],
  ['oid', 16909060, 16909060],
  ['real', 2, 2],
  ['double precision', 2, 2],
  ['text', 'plain', 'plain'],
  ['varchar(5)', 'abc', 'abc'],
]

async function types(client) {
  for (const [form, values] of [['text', TEXT], ['binary', BINARY]]) {
    for (const [type, parameter, expected] of values) {
      const query = { text: `SELECT $1::${type} AS v`, values: [parameter], binary: form === 'binary' }
      equal(`${type} ${form}`, (await client.query(query)).rows, [{ v: expected }])
      equal(`${type} null ${form}`, (await client.query({ ...query, values: [null] })).rows, [{ v: null }])
    }
  }
  const interval = (await client.query("SELECT interval '1 year 2 days 03:04:05.5' AS v")).rows[0].v
  equal('interval text', { ...interval }, { years: 1, days: 2, hours: 3, minutes: 4, seconds: 5, milliseconds: 500 })
  const date = (await client.query({ text: "SELECT date '2024-02-29' AS v, time '01:02:03' AS w", rowMode: 'array' })).rows
  equal('date and time text', date, [[new Date(2024, 1, 29), '01:02:03']])
}

async function statements(client) {
  await client.query('CREATE TABLE drv_pg (id integer PRIMARY KEY, note text, tags text[])')
  for (let id = 0; id < 50; id++) {
    const values = [id, `note ${id}`, [`t${id}`]]
    await client.query({ name: 'insert', text: 'INSERT INTO drv_pg VALUES ($1, $2, $3)', values })
  }
  const result = await client.query('SELECT id, note, tags FROM drv_pg WHERE id = ANY($1::int[]) ORDER BY id', [[1, 2]])
  equal('any(array)', result.rows, [{ id: 1, note: 'note 1', tags: ['t1'] }, { id: 2, note: 'note 2', tags: ['t2'] }])
  equal('column types', result.fields.map((f) => f.dataTypeID), [23, 25, 1009])
  equal('command', [result.command, result.rowCount], ['SELECT', 2])
  equal('update', (await client.query('UPDATE drv_pg SET note = $1 WHERE id < $2', ['x', 5])).rowCount, 5)
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS b')
  equal('several statements', several.map((r) => r.rows[0]), [{ a: 1 }, { b: 2 }])
  const empty = await client.query('')
  equal('empty query', empty.rows, [])
  const ids = []
  for await (const row of client.query(new QueryStream('SELECT id FROM drv_pg ORDER BY id', [], { batchSize: 7 }))) ids.push(row.id)
  equal('cursor in batches', ids, [...Array(50).keys()])
}

async function copy(client) {
  await pipeline(Readable.from(['100\tcopied\n', '101\t\\', 'N\n']), client.query(copyFrom('COPY drv_pg (id, note) FROM STDIN')))
  const chunks = []
  for await (const chunk of client.query(copyTo('COPY (SELECT id, note FROM drv_pg WHERE id >= 100 ORDER BY id) TO STDOUT (FORMAT csv)'))) chunks.push(chunk)
  equal('copy in and out', Buffer.concat(chunks).toString(), '100,copied\n101,\n')
}

async function transactions(client) {
  await client.query('BEGIN')
  await client.query("INSERT INTO drv_pg VALUES (200, 'gone')")
  await client.query('ROLLBACK')
  equal('rollback', (await client.query('SELECT 1 FROM drv_pg WHERE id = 200')).rowCount, 0)
  await client.query('BEGIN')
  await client.query("INSERT INTO drv_pg VALUES (201, 'kept')")
  await client.query('COMMIT')
  equal('commit', (await client.query('SELECT 1 FROM drv_pg WHERE id = 201')).rowCount, 1)
  const duplicate = await failure('duplicate key', () => client.query('INSERT INTO drv_pg (id) VALUES ($1)', [201]))
  equal('duplicate key', [duplicate.code, duplicate.constraint, duplicate.table], ['23505', 'drv_pg_pkey', 'drv_pg'])
  const missing = await failure('missing column', () => client.query('SELECT nothing FROM drv_pg'))
  equal('missing column', [missing.code, missing.position, missing.severity], ['42703', '8', 'ERROR'])
  equal('usable after an error', (await client.query('SELECT 1 AS v')).rows, [{ v: 1 }])
}

async function cancel(client, pool) {
  const sleeping = failure('cancel', () => client.query('SELECT pg_sleep(30)'))
  await new Promise((resolve) => setTimeout(resolve, 300))
  await pool.query('SELECT pg_cancel_backend($1)', [client.processID])
  equal('cancel', (await sleeping).code, '57014')
  equal('usable after cancel', (await client.query('SELECT 2 AS v')).rows, [{ v: 2 }])
}

async function notifications(client, pool) {
  const listener = new Client(settings)
  const inbox = new Inbox()
  listener.on('notification', inbox.push)
  await listener.connect()
  await listener.query('LISTEN drv_pg')
  await client.query("BEGIN; NOTIFY drv_pg, 'rolled back'; ROLLBACK; NOTIFY drv_pg, 'first'")
  await client.query('SELECT pg_notify($1, $2)', ['drv_pg', 'naïve 🐘'])
  const found = (await inbox.next(2)).map((n) => [n.channel, n.payload, n.processId])
  equal('notifications', found, [['drv_pg', 'first', client.processID], ['drv_pg', 'naïve 🐘', client.processID]])
  if (hasLive((await client.query('SELECT version() AS v')).rows[0].v)) {
    const { create, query, changes, events } = live('drv_pg_live')
    await client.query('DROP TABLE IF EXISTS drv_pg_live')
    await client.query(create)
    await listener.query(`LISTEN ${escapeIdentifier(query)}`)
    for (const change of changes) await pool.query(change)
    const told = await inbox.next(1 + events.length)
    liveEqual('live query', told.map((n) => n.payload), [{ op: 'ready' }, ...events])
    equal('live query: channel', told.map((n) => n.channel), told.map(() => query))
    await listener.query(`UNLISTEN ${escapeIdentifier(query)}`)
    await client.query('DROP TABLE drv_pg_live')
    await client.query("NOTIFY drv_pg, 'after'")
    equal('live query: ended', (await inbox.next(1))[0].payload, 'after')
  }
  await listener.end()
}

async function main() {
  const client = new Client(settings)
  const pool = new Pool({ ...settings, max: 4 })
  await client.connect()
  await client.query('DROP TABLE IF EXISTS drv_pg')
  for (const check of [types, statements, copy, transactions, cancel, notifications]) await check(client, pool)
  const batch = await Promise.all([...Array(40).keys()].map((i) => pool.query('SELECT $1::int AS v', [i])))
  equal('pool', batch.map((r) => r.rows[0].v), [...Array(40).keys()])
  await client.query('DROP TABLE drv_pg')
  await client.end()
  await pool.end()
}

main().catch((error) => {
  console.log(`not ok - ${error.stack}`)
  process.exit(1)
})
