// Keeps the rows of a query and prints them whenever they have changed: node-postgres.
const { Client, escapeIdentifier } = require('pg')

async function main(query) {
  const client = new Client({
    host: process.env.PGHOST ?? '127.0.0.1',
    port: Number(process.env.PGPORT ?? 5432),
    user: process.env.PGUSER ?? 'postgres',
    database: process.env.PGDATABASE ?? 'postgres',
  })
  await client.connect()
  const rows = new Map()
  client.on('notification', ({ payload }) => {
    const change = JSON.parse(payload)
    const key = JSON.stringify(change.key)
    if (change.op === 'reset') rows.clear()
    else if (change.op === 'delete') rows.delete(key)
    else if (change.new) rows.set(key, change.new)
    if (change.op === 'ready' || change.last) console.log(JSON.stringify([...rows.values()]))
  })
  await client.query(`LISTEN ${escapeIdentifier(query)} WITH (snapshot = true)`)
}

main(process.argv[2])
