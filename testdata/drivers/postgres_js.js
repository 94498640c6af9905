// postgres.js: pipelined prepared statements whose parameter types come from Describe, its array type look-up, COPY, listen.
'use strict'
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const postgres = require('postgres')
const { settings, equal, failure, Inbox, live, hasLive, liveEqual } = require('./checks.js')

const VALUES = [
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
  ['bytea', Buffer.from([0, 1, 254, 255]), Buffer.from([0, 1, 254, 255])],
  ['timestamptz', new Date('2024-02-29T12:00:00.500Z'), new Date('2024-02-29T12:00:00.500Z')],
  ['date', new Date('2024-02-29'), new Date('2024-02-29')],
  ['time', '01:02:03', '01:02:03'],
  ['interval', '1 day', '1 day'],
  ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['json', { a: [1, null] }, { a: [1, null] }],
  ['jsonb', { a: [true], b: 1 }, { a: [true], b: 1 }],
  ['integer[]', [1, 2, 3], [1, 2, 3]],
  ['text[]', ['a b', 'q"\\'], ['a b', 'q"\\']],
]

async function types(sql) {
  for (const [type, parameter, expected] of VALUES) {
    const text = `SELECT $1::${type} AS v`
    equal(type, [...(await sql.unsafe(text, [parameter], { prepare: true }))], [{ v: expected }])
    equal(`${type} null`, [...(await sql.unsafe(text, [null]))], [{ v: null }])
  }
}

async function statements(sql) {
  await sql`CREATE TABLE drv_postgres (id integer PRIMARY KEY, note text, tags text[], amount numeric)`
  const rows = [...Array(30).keys()].map((id) => ({ id, note: `note ${id}`, tags: [`t${id}`], amount: '1.50' }))
  equal('insert helper', (await sql`INSERT INTO drv_postgres ${sql(rows)}`).count, 30)
  const found = await sql`SELECT * FROM drv_postgres WHERE id IN ${sql([1, 2])} AND note LIKE ${'note%'} ORDER BY id`
  equal('select', [...found], rows.slice(1, 3))
  equal('columns', found.columns.map((c) => [c.name, c.type]), [['id', 23], ['note', 25], ['tags', 1009], ['amount', 1700]])
  const returned = await sql`UPDATE drv_postgres SET ${sql({ note: 'x' })} WHERE id = ${3} RETURNING id, note`
  equal('update returning', [...returned], [{ id: 3, note: 'x' }])
  const pipelined = await Promise.all([...Array(50).keys()].map((i) => sql`SELECT ${i}::int + 1 AS v`))
  equal('pipeline', pipelined.map((r) => r[0].v), [...Array(50).keys()].map((i) => i + 1))
  const ids = []
  await sql`SELECT id FROM drv_postgres ORDER BY id`.cursor(7, (part) => { ids.push(...part.map((r) => r.id)) })
  equal('cursor', ids, [...Array(30).keys()])
  const described = await sql`SELECT id FROM drv_postgres WHERE note = ${'x'} AND amount > ${1}`.describe()
  equal('describe', [described.types, described.columns.map((c) => c.type)], [[25, 1700], [23]])
  const simple = await sql.unsafe('SELECT 1 AS a; SELECT 2 AS b').simple()
  equal('several statements', simple.map((r) => r[0]), [{ a: 1 }, { b: 2 }])
}

async function copy(sql) {
  await pipeline(Readable.from(['100\tcopied\n', '101\t\\N\n']), await sql`COPY drv_postgres (id, note) FROM STDIN`.writable())
  const chunks = []
  for await (const chunk of await sql`COPY (SELECT id, note FROM drv_postgres WHERE id >= 100 ORDER BY id) TO STDOUT`.readable()) chunks.push(chunk)
  equal('copy in and out', Buffer.concat(chunks).toString(), '100\tcopied\n101\t\\N\n')
}

async function transactions(sql) {
  await failure('rollback', () => sql.begin(async (tx) => {
    await tx`INSERT INTO drv_postgres (id) VALUES (200)`
    throw new Error('roll back')
  }))
  equal('rollback', (await sql`SELECT 1 FROM drv_postgres WHERE id = 200`).count, 0)
  await sql.begin((tx) => [tx`INSERT INTO drv_postgres (id) VALUES (201)`, tx`INSERT INTO drv_postgres (id) VALUES (202)`])
  equal('commit', (await sql`SELECT 1 FROM drv_postgres WHERE id IN (201, 202)`).count, 2)
  const duplicate = await failure('duplicate key', () => sql`INSERT INTO drv_postgres (id) VALUES (${201})`)
  equal('duplicate key', [duplicate.code, duplicate.constraint_name], ['23505', 'drv_postgres_pkey'])
  equal('usable after an error', [...(await sql`SELECT 1 AS v`)], [{ v: 1 }])
}

async function cancel(sql) {
  const query = sql`SELECT pg_sleep(30)`
  const sleeping = failure('cancel', () => query)
  await new Promise((resolve) => setTimeout(resolve, 300))
  await query.cancel()
  equal('cancel', (await sleeping).code, '57014')
  equal('usable after cancel', [...(await sql`SELECT 2 AS v`)], [{ v: 2 }])
}

// postgres.js listens on a connection of its own, quotes the channel, and tells the payload only.
async function notifications(sql) {
  const inbox = new Inbox()
  const { unlisten } = await sql.listen('drv_postgres', inbox.push)
  await sql.notify('drv_postgres', 'naïve 🐘')
  await sql.begin((tx) => [tx`NOTIFY drv_postgres, 'one'`, tx`NOTIFY drv_postgres, 'two'`])
  equal('notifications', await inbox.next(3), ['naïve 🐘', 'one', 'two'])
  if (hasLive((await sql`SELECT version() AS v`)[0].v)) {
    const { create, query, changes, events } = live('drv_postgres_live')
    await sql`DROP TABLE IF EXISTS drv_postgres_live`
    await sql.unsafe(create)
    const subscription = await sql.listen(query, inbox.push)
    for (const change of changes) await sql.unsafe(change)
    liveEqual('live query', await inbox.next(1 + events.length), [{ op: 'ready' }, ...events])
    await subscription.unlisten()
    await sql`DROP TABLE drv_postgres_live`
    await sql.notify('drv_postgres', 'after')
    equal('live query: ended', await inbox.next(1), ['after'])
  }
  await unlisten()
}

async function main() {
  const sql = postgres({ ...settings, max: 2, onnotice: () => {} })
  await sql`DROP TABLE IF EXISTS drv_postgres`
  for (const check of [types, statements, copy, transactions, cancel, notifications]) await check(sql)
  await sql`DROP TABLE drv_postgres`
  await sql.end()
}

main().catch((error) => {
  console.log(`not ok - ${error.stack}`)
  process.exit(1)
})
